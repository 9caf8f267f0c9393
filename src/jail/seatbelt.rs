//! The same policy for macOS: a profile of `sandbox-exec`, as text.
//!
//! Not verified: the text is tested, no Mac has run it. What is not allowed in it is denied, of two
//! rules that fit the later one counts, and paths mean what they are without links.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::{
    plan::{Access, Grant, Limits, Plan},
    report::{Layer, State},
    settings::Network,
};

/// The program that runs another one under a profile.
const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// What every program needs of macOS, as far as it is there.
const SYSTEM: &[&str] = &[
    "/System",
    "/Library/Apple",
    "/Library/Fonts",
    "/Library/Frameworks",
    "/opt/homebrew",
    "/opt/local",
    "/private/etc/localtime",
    "/private/etc/protocols",
    "/private/etc/services",
    "/private/etc/ssl",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
];

/// Folders that are links, which a profile does not follow.
const LINKS: &[(&str, &str)] =
    &[("/tmp", "/private/tmp"), ("/var", "/private/var"), ("/etc", "/private/etc")];

/// What holds whatever the plan says: the process itself, and nothing of others.
const ALWAYS: &str = r#"(version 1)
(deny default)
(allow process-exec process-fork)
(allow process-info* signal (target same-sandbox))
(allow sysctl-read)
(allow mach-lookup
  (global-name "com.apple.system.opendirectoryd.libinfo")
  (global-name "com.apple.system.logger")
  (global-name "com.apple.system.notification_center"))
(allow ipc-posix-sem ipc-posix-shm)
(allow pseudo-tty)
(allow file-read* (literal "/"))
(allow file-read* file-write-data (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty"))
(allow file-read* (literal "/dev/random") (literal "/dev/urandom") (subpath "/dev/fd"))
(allow file-read* file-write* file-ioctl (regex #"^/dev/(ptmx|ttys[0-9]+)$"))
"#;

/// A path that cannot stand in a profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("name `{}` in a sandbox-exec profile: it must be Unicode without control characters", .0.display())]
pub(super) struct Unspeakable(PathBuf);

/// The command line that runs `command` as the plan says.
pub(super) fn wrapped(command: Vec<OsString>, plan: &Plan) -> Result<Vec<OsString>, Unspeakable> {
    let words = [SANDBOX_EXEC.into(), "-p".into(), profile(plan)?.into()];
    Ok(words.into_iter().chain(command).collect())
}

/// Bounds of each process, as far as macOS keeps them, and what is to be told of the profile. For the
/// process that is about to run `sandbox-exec`.
#[cfg_attr(target_os = "linux", expect(dead_code, reason = "macOS only"))]
pub(super) fn limit(limits: &Limits) -> Result<Layer, String> {
    let set = |resource, most: u64| {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| format!("set the limits: {error}"))
    };
    set(Resource::Core, 0)?;
    set(Resource::Nofile, limits.open_files)?;
    limits.file_size.map_or(Ok(()), |size| set(Resource::Fsize, size))?;
    let detail = "a profile of sandbox-exec; not verified: no Mac has shown that it holds";
    Ok(Layer::new("seatbelt", State::Partial, detail))
}

/// The profile for that plan.
pub(super) fn profile(plan: &Plan) -> Result<String, Unspeakable> {
    let mut text = ALWAYS.to_owned();
    for path in SYSTEM {
        text.push_str(&allow("file-read*", &filters(Path::new(path))?));
    }
    let (kept, granted): (Vec<&Grant>, Vec<&Grant>) =
        plan.grants.iter().partition(|grant| grant.kept.is_some());
    for grant in granted {
        text.push_str(&rules(grant)?);
    }
    // After all that allows: the later rule counts, also for what is not there yet.
    for grant in kept {
        text.push_str(&format!("(deny file-write* {})\n", filters(&grant.path)?));
    }
    text.push_str(&network(plan)?);
    Ok(text)
}

fn rules(grant: &Grant) -> Result<String, Unspeakable> {
    let place = filters(&grant.path)?;
    // Programs look at the folders on the way; what is in them they do not see.
    let on_the_way: Result<Vec<String>, Unspeakable> =
        grant.path.ancestors().skip(1).map(literal).collect();
    let way = allow("file-read-metadata", &on_the_way?.join(" "));
    let deeds = match grant.access {
        Access::Read => allow("file-read*", &place),
        Access::Write => allow("file-read* file-write*", &place),
        Access::Device => allow("file-read* file-write-data file-ioctl", &place),
        Access::Run => {
            let sockets = format!("(require-all {place} (vnode-type SOCKET))");
            allow("file-read* file-write-data file-write-unlink", &place)
                + &allow("file-write-create", &sockets)
        }
    };
    Ok(way + &deeds)
}

fn network(plan: &Plan) -> Result<String, Unspeakable> {
    let mut text = String::new();
    let own =
        plan.grants.iter().filter(|grant| grant.access != Access::Read && grant.kept.is_none());
    for grant in own {
        let place = subpaths(&grant.path)?.join(" ");
        text.push_str(&allow(
            "network-bind network-inbound",
            &format!("(local unix-socket {place})"),
        ));
    }
    if plan.network == Network::Full {
        text.push_str("(allow network*)\n(allow system-socket)\n");
    }
    Ok(text)
}

fn allow(deeds: &str, filters: &str) -> String {
    format!("(allow {deeds} {filters})\n")
}

/// What is at a path and below it.
fn filters(path: &Path) -> Result<String, Unspeakable> {
    let both: Vec<String> = subpaths(path)?;
    Ok(match both.as_slice() {
        [one] => one.clone(),
        several => format!("(require-any {})", several.join(" ")),
    })
}

fn subpaths(path: &Path) -> Result<Vec<String>, Unspeakable> {
    names(path).iter().map(|name| Ok(format!("(subpath {})", quoted(name)?))).collect()
}

fn literal(path: &Path) -> Result<String, Unspeakable> {
    let each: Result<Vec<String>, Unspeakable> =
        names(path).iter().map(|name| Ok(format!("(literal {})", quoted(name)?))).collect();
    Ok(each?.join(" "))
}

/// A path by the name that it has, and by the one without macOS's own links.
fn names(path: &Path) -> Vec<PathBuf> {
    let mut names = vec![path.to_owned()];
    let real = LINKS.iter().find_map(|(link, real)| {
        path.strip_prefix(link).ok().map(|rest| Path::new(real).join(rest))
    });
    names.extend(real);
    names
}

/// A path as a text of the profile's language, in which a backslash and a quote mean something.
fn quoted(path: &Path) -> Result<String, Unspeakable> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| Unspeakable(path.to_owned()))?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::{Ground, Level, Settings};

    fn plan(workspace: &str, network: Network) -> Plan {
        let ground = Ground {
            workspace: workspace.into(),
            run: "/var/folders/x/husk-1/k".into(),
            programs: vec!["/Users/me/.venv".into()],
            home: Some("/Users/me".into()),
            state: "/Users/me/Library/Application Support/husk".into(),
            memory: 1,
            settings: None,
            record: Some(".husk".into()),
        };
        let settings = Settings { network, ..Settings::default() };
        Plan::make(&settings, Level::Seatbelt, &ground).unwrap()
    }

    fn text(workspace: &str, network: Network) -> String {
        profile(&plan(workspace, network)).unwrap()
    }

    #[test]
    fn a_profile_denies_all_that_the_plan_does_not_give() {
        let text = text("/Users/me/work", Network::None);
        assert!(text.starts_with("(version 1)\n(deny default)\n"), "{text}");
        for line in [
            r#"(allow file-read* file-write* (subpath "/Users/me/work"))"#,
            r#"(allow file-read* (subpath "/Users/me/.venv"))"#,
            r#"(allow file-read-metadata (literal "/Users/me") (literal "/Users") (literal "/"))"#,
            r#"(allow file-read* (subpath "/usr"))"#,
            r#"(deny file-write* (subpath "/Users/me/work/.git"))"#,
            r#"(deny file-write* (subpath "/Users/me/work/.husk"))"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        let opened = |path: &str| text.contains(&format!("(subpath \"{path}\")"));
        for closed in ["/", "/Users", "/Users/me", "/private/var", "/private/etc", "/Library"] {
            assert!(!opened(closed), "{closed}");
        }
        assert!(!text.contains("network*") && !text.contains("network-outbound"), "{text}");
    }

    #[test]
    fn what_is_kept_from_cells_comes_after_all_that_is_allowed() {
        let text = text("/Users/me/work", Network::Full);
        let last_write = text.rfind("file-write* (subpath \"/Users/me/work\"))").unwrap();
        assert!(text.find("(deny file-write*").unwrap() > last_write);
        assert!(!text[text.find("(deny file-write*").unwrap()..].contains("(allow file-"));
        assert!(text.contains("(allow network*)"));
    }

    #[test]
    fn in_the_run_folder_only_sockets_are_made() {
        let text = text("/Users/me/work", Network::None);
        let run = r#"(require-any (subpath "/var/folders/x/husk-1/k") (subpath "/private/var/folders/x/husk-1/k"))"#;
        let made = format!("(allow file-write-create (require-all {run} (vnode-type SOCKET)))");
        assert!(text.contains(&made), "{text}");
        assert!(!text.contains(&format!("file-write* {run}")), "{text}");
        // But for its temporary files.
        assert!(text.contains("file-write* (require-any (subpath \"/var/folders/x/husk-1/k/t\")"));
    }

    #[test]
    fn no_path_says_more_than_itself() {
        let evil = r#"/Users/me/a")(allow default)("\"#;
        let text = text(evil, Network::None);
        assert!(text.contains(r#"(subpath "/Users/me/a\")(allow default)(\"\\")"#), "{text}");
        // Read as the profile's language is, all texts and parentheses close where they should.
        let (mut depth, mut inside, mut escaped, mut outside) = (0i32, false, false, String::new());
        for c in text.chars() {
            match (inside, escaped, c) {
                (true, true, _) => escaped = false,
                (true, false, '\\') => escaped = true,
                (_, _, '"') => inside = !inside,
                (true, ..) => {}
                (false, _, c) => {
                    depth += i32::from(c == '(') - i32::from(c == ')');
                    outside.push(c);
                }
            }
            assert!(depth >= 0);
        }
        assert_eq!((depth, inside), (0, false));
        assert!(!outside.contains("(allow default)"), "{outside}");
        let error = profile(&plan("/Users/me/a\nb", Network::None)).unwrap_err();
        assert!(error.to_string().contains("control characters"), "{error}");
    }

    #[test]
    fn the_command_runs_under_the_profile() {
        let plan = plan("/Users/me/work", Network::None);
        let words = wrapped(vec!["python".into(), "-s".into()], &plan).unwrap();
        assert_eq!(words[..2], [SANDBOX_EXEC, "-p"]);
        assert_eq!(words[2], profile(&plan).unwrap().as_str());
        assert_eq!(words[3..], ["python", "-s"]);
    }
}
