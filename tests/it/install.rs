//! `husk install` and `husk uninstall`: what becomes of hosts' files, as text and on disk.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use husk::cli::install::host::Host::{self, ClaudeCode, ClaudeDesktop, Codex, Cursor, VsCode};
use husk::cli::install::host::Places;
use husk::cli::install::report::Outcome;
use husk::cli::install::{Edit, Entry, Error, install, registered, removed, snippet, uninstall};

const HOSTS: [Host; 5] = [ClaudeDesktop, ClaudeCode, VsCode, Cursor, Codex];

fn entry() -> Entry {
    Entry { command: "/opt/husk".into(), args: vec!["--workspace".into(), "/data".into()] }
}

fn bare() -> Entry {
    Entry { command: "/opt/husk".into(), args: Vec::new() }
}

fn places(home: &Path) -> Places {
    let home = OsString::from(home);
    Places::found(|name| {
        let known = ["HOME", "USERPROFILE"].contains(&name);
        known.then(|| home.clone())
    })
    .unwrap()
}

#[test]
fn snippets_are_what_each_host_documents() {
    let json = |servers: &str, first: &str, last: &str| {
        format!(
            "{{\n  \"{servers}\": {{\n    \"husk\": {{\n{first}      \"command\": \"/opt/husk\",\n      \
             \"args\": [\"--workspace\",\"/data\"]{last}\n    }}\n  }}\n}}\n"
        )
    };
    let stdio = "      \"type\": \"stdio\",\n";
    let codex = "[mcp_servers.husk]\ncommand = \"/opt/husk\"\nargs = [\"--workspace\", \"/data\"]\n\
                 startup_timeout_sec = 30\ntool_timeout_sec = 3600\n";
    let expected = [
        json("mcpServers", "", ""),
        json("mcpServers", stdio, ",\n      \"env\": {}"),
        json("servers", stdio, ""),
        json("mcpServers", "", ""),
        codex.to_owned(),
    ];
    for (host, expected) in HOSTS.into_iter().zip(expected) {
        assert_eq!(snippet(host, &entry()), expected, "{host}");
        for empty in ["", "  \n"] {
            let Edit::Changed(text) = registered(host, empty, &entry()).unwrap() else {
                panic!("{host}: nothing was added to {empty:?}");
            };
            assert_eq!(text.trim_start(), expected, "{host} {empty:?}");
        }
    }
}

/// Registering `bare()` turns `before` into `after`, and registering once more changes nothing.
fn becomes(host: Host, before: &str, after: &str) {
    let edit = registered(host, before, &bare()).unwrap();
    assert_eq!(edit, Edit::Changed(after.into()), "{host}: {before}");
    let again = registered(host, after, &bare()).unwrap();
    assert_eq!(again, Edit::Unchanged, "{host}: {after}");
}

/// Removing the entry turns `before` into `after`, and there is nothing to remove then.
fn leaves(host: Host, before: &str, after: &str) {
    let edit = removed(host, before).unwrap();
    assert_eq!(edit, Edit::Changed(after.into()), "{host}: {before}");
    assert_eq!(removed(host, after).unwrap(), Edit::Unchanged, "{host}: {after}");
}

#[test]
fn json_around_the_entry_stays_as_it_was_written() {
    let husk = "\"command\": \"/opt/husk\",\n      \"args\": []\n    }";
    let cases = [
        // Other servers, comments and a trailing comma.
        (
            "// mine\n{\n  \"a\": 1.50, // one\n  \"mcpServers\": {\n    \"x\": { \"command\": \"y\" }, // why\n  },\n}\n".to_owned(),
            format!("// mine\n{{\n  \"a\": 1.50, // one\n  \"mcpServers\": {{\n    \"x\": {{ \"command\": \"y\" }}, // why\n    \"husk\": {{\n      {},\n  }},\n}}\n", husk.replace("[]\n", "[],\n")),
        ),
        // No servers yet.
        (
            "{\n  \"a\": {}\n}".to_owned(),
            format!("{{\n  \"a\": {{}},\n  \"mcpServers\": {{\n    \"husk\": {{\n      {husk}\n  }}\n}}"),
        ),
        ("{}".to_owned(), format!("{{\n  \"mcpServers\": {{\n    \"husk\": {{\n      {husk}\n  }}\n}}")),
        (
            "// only a comment\n".to_owned(),
            format!("// only a comment\n{{\n  \"mcpServers\": {{\n    \"husk\": {{\n      {husk}\n  }}\n}}\n"),
        ),
        // An old entry keeps what its user added, also where it stands.
        (
            "{\"mcpServers\": {\"husk\": {\"env\": {\"A\": \"b\"}, \"command\": \"old\", \"args\": []}, \"z\": {}}}".to_owned(),
            "{\"mcpServers\": {\"husk\": {\"env\": {\"A\": \"b\"}, \"command\": \"/opt/husk\", \"args\": []}, \"z\": {}}}".to_owned(),
        ),
        // One that led to a remote server does not.
        (
            "{\n  \"mcpServers\": {\n    \"husk\": {\"url\": \"x\", \"headers\": {}}\n  }\n}".to_owned(),
            format!("{{\n  \"mcpServers\": {{\n    \"husk\": {{\n      {husk}\n  }}\n}}"),
        ),
        // Where a name stands twice, hosts read the last.
        (
            "{\"mcpServers\": {}, \"mcpServers\": {\"husk\": {\"command\": \"old\", \"args\": []}}}".to_owned(),
            "{\"mcpServers\": {}, \"mcpServers\": {\"husk\": {\"command\": \"/opt/husk\", \"args\": []}}}".to_owned(),
        ),
        // Line ends and the byte order mark of Windows.
        (
            "\u{feff}{\r\n  \"mcpServers\": {}\r\n}\r\n".to_owned(),
            format!("\u{feff}{{\n  \"mcpServers\": {{\n    \"husk\": {{\n      {husk}\n  }}\n}}\n").replace('\n', "\r\n"),
        ),
    ];
    for (before, after) in cases {
        becomes(Cursor, &before, &after);
    }
    let old = "{\"mcpServers\": {\"husk\": {\"type\": \"stdio\", \"command\": \"old\", \"args\": [], \"env\": {\"A\": \"b\"}}}}";
    becomes(ClaudeCode, old, &old.replace("old", "/opt/husk"));
}

#[test]
fn toml_around_the_entry_stays_as_it_was_written() {
    let husk = snippet(Codex, &bare());
    let cases = [
        // After the file, byte for byte, also where it ends without a line end.
        ("# mine\nmodel='x'   # why\n[mcp_servers.a]\ncommand='b'\n# [old]\n".to_owned(), "# mine\nmodel='x'   # why\n[mcp_servers.a]\ncommand='b'\n# [old]\n\n".to_owned() + &husk),
        ("a = 1".to_owned(), format!("a = 1\n\n{husk}")),
        ("a = 1\r\n".to_owned(), format!("a = 1\n\n{husk}").replace('\n', "\r\n")),
        ("mcp_servers.a.command = 'b'\n".to_owned(), format!("mcp_servers.a.command = 'b'\n\n{husk}")),
        // A table that no header can extend.
        (
            "mcp_servers = { a = { command = 'b' } } # all\n".to_owned(),
            "mcp_servers = { a = { command = 'b' } , husk = { command = \"/opt/husk\", args = [], startup_timeout_sec = 30, tool_timeout_sec = 3600 } } # all\n".to_owned(),
        ),
        // An old entry keeps what its user added.
        (
            "[mcp_servers.husk] # h\r\ncommand = 'old' # c\r\n# in\r\ntool_timeout_sec = 9.5\r\n\r\n[mcp_servers.husk.env]\r\nA = 'b'\r\n".to_owned(),
            "[mcp_servers.husk] # h\r\ncommand = \"/opt/husk\" # c\r\n# in\r\ntool_timeout_sec = 9.5\r\nargs = []\r\nstartup_timeout_sec = 30\r\n\r\n[mcp_servers.husk.env]\r\nA = 'b'\r\n".to_owned(),
        ),
        // One that led to a remote server does not.
        ("[mcp_servers.husk]\nurl = 'x'\n\n# next\n[z]\n".to_owned(), format!("# next\n[z]\n\n{husk}")),
    ];
    for (before, after) in cases {
        becomes(Codex, &before, &after);
    }
}

#[test]
fn removal_takes_the_entry_and_nothing_else() {
    let cases = [
        (
            VsCode,
            "{\"servers\": {\"husk\": {}, \"a\": {}}, \"inputs\": []}",
            "{\"servers\": { \"a\": {}}, \"inputs\": []}",
        ),
        (
            VsCode,
            "{\n  // all\n  \"servers\": {\n    \"a\": {}, // a\n    \"husk\": {} // h\n  }\n}\n",
            "{\n  // all\n  \"servers\": {\n    \"a\": {} // a\n  }\n}\n",
        ),
        (
            VsCode,
            "{\n  \"servers\": {\n    \"husk\": {},\n    \"husk\": {}\n  }\n}\n",
            "{\n  \"servers\": {}\n}\n",
        ),
        (
            Codex,
            "a = 1\n\n# about\n[mcp_servers.husk]\ncommand = 'x'\nenv.A = [\n 'b' ]\n# end\n\n[z]\n[mcp_servers.husk.tools.x]\nb = 1 # b\n\n# y\n[y]\n",
            "a = 1\n\n# about\n# end\n\n[z]\n\n# y\n[y]\n",
        ),
        (
            Codex,
            "mcp_servers = { husk = { command = 'x' }, a = {} }\n",
            "mcp_servers = { a = {} }\n",
        ),
        (
            Codex,
            "[mcp_servers]\nhusk.command = 'x'\na.command = 'y'\r\n",
            "[mcp_servers]\na.command = 'y'\n",
        ),
    ];
    for (host, before, after) in cases {
        leaves(host, before, after);
    }
    for host in HOSTS {
        assert_eq!(removed(host, "\n").unwrap(), Edit::Unchanged, "{host}");
    }
    let Edit::Changed(text) = registered(Codex, "a = 1\n", &bare()).unwrap() else { panic!() };
    leaves(Codex, &text, "a = 1\n");
}

#[test]
fn a_file_of_another_shape_is_refused_with_its_line() {
    let cases = [
        (Cursor, "{\n\"a\": 1\n\"b\": 2\n}", 2, "Expected comma"),
        (Cursor, "{\n  a: 1\n}", 2, "not valid JSON"),
        (Cursor, "\n[1]", 2, "the file should hold an object"),
        (Cursor, "{\n\n\"mcpServers\": []\n}", 3, "`mcpServers` should"),
        (Codex, "a = 1\nb = \n", 2, "not valid TOML"),
        (Codex, "a = 1\nmcp_servers = 'x'\n", 2, "and is a string"),
        (Codex, "[[mcp_servers]]\n", 1, "is an array of tables"),
    ];
    for (host, text, expected, words) in cases {
        for result in [registered(host, text, &bare()), removed(host, text)] {
            let error = result.unwrap_err();
            let shown = error.to_string();
            assert!(
                matches!(error, Error::NotEditable { line, .. } if line == expected),
                "{shown}"
            );
            assert!(shown.contains(words) && shown.contains("--print"), "{shown}");
        }
    }
}

#[test]
fn installing_and_uninstalling_work_on_the_hosts_own_file() {
    let files = [
        ".config/Claude/claude_desktop_config.json",
        ".claude.json",
        ".config/Code/User/mcp.json",
        ".cursor/mcp.json",
        ".codex/config.toml",
    ];
    for (host, file) in HOSTS.into_iter().zip(files) {
        let home = tempfile::tempdir().unwrap();
        let places = places(home.path());
        let missing = uninstall(host, &places).unwrap();
        assert_eq!((missing.outcome, missing.file.exists()), (Outcome::NotRegistered, false));

        let new = install(host, &bare(), &places).unwrap();
        assert_eq!((new.outcome, new.backup), (Outcome::Registered, None), "{host}");
        if cfg!(target_os = "linux") {
            assert_eq!(new.file, home.path().join(file));
        }
        assert_eq!(fs::read_to_string(&new.file).unwrap(), snippet(host, &bare()));

        let again = install(host, &bare(), &places).unwrap();
        assert_eq!((again.outcome, again.backup.clone()), (Outcome::AlreadyRegistered, None));
        assert!(again.to_string().contains("already registered"), "{again}");

        let gone = uninstall(host, &places).unwrap();
        assert_eq!(gone.outcome, Outcome::Removed, "{host}");
        let kept = fs::read_to_string(gone.backup.unwrap()).unwrap();
        assert_eq!(kept, snippet(host, &bare()), "{host}");
        let text = fs::read_to_string(&gone.file).unwrap();
        assert_eq!(removed(host, &text).unwrap(), Edit::Unchanged, "{host}");
    }
}

#[test]
fn the_oldest_text_is_never_lost() {
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    let file = Codex.file(&places);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "a = 1\n").unwrap();
    for _ in 0..3 {
        install(Codex, &bare(), &places).unwrap();
        install(Codex, &entry(), &places).unwrap();
        uninstall(Codex, &places).unwrap();
    }
    let text =
        |suffix: &str| fs::read_to_string(file.with_file_name(format!("config.toml{suffix}")));
    assert_eq!(text("").unwrap(), "a = 1\n");
    assert_eq!(text(".husk-backup").unwrap(), "a = 1\n");
    assert!(text(".husk-backup-2").unwrap().contains("args = []"));
    assert!(text(".husk-backup-3").unwrap().contains("/data"));
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 4);
}

#[test]
fn a_refused_file_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    let file = ClaudeCode.file(&places);
    for bytes in [&b"{ nonsense"[..], b"{\"a\": \"\xff\"}"] {
        fs::write(&file, bytes).unwrap();
        for result in [install(ClaudeCode, &bare(), &places), uninstall(ClaudeCode, &places)] {
            let shown = result.unwrap_err().to_string();
            assert!(shown.contains(file.to_str().unwrap()), "{shown}");
        }
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}

#[cfg(unix)]
#[test]
fn links_and_permissions_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let home = tempfile::tempdir().unwrap();
    let places = places(home.path());
    let (file, dotfiles) = (ClaudeCode.file(&places), home.path().join("dotfiles"));
    // The first link leads to nothing yet, and through a second one.
    symlink("second", &file).unwrap();
    symlink(dotfiles.join("claude.json"), home.path().join("second")).unwrap();
    install(ClaudeCode, &bare(), &places).unwrap();
    let target = dotfiles.join("claude.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&target), 0o600);

    fs::set_permissions(&target, PermissionsExt::from_mode(0o640)).unwrap();
    let report = install(ClaudeCode, &entry(), &places).unwrap();
    assert!(file.is_symlink() && !target.is_symlink());
    assert!(fs::read_to_string(&target).unwrap().contains("/data"));
    let backup = report.backup.unwrap();
    assert_eq!(backup, home.path().join(".claude.json.husk-backup"));
    assert_eq!((mode(&target), mode(&backup)), (0o640, 0o640));

    fs::remove_file(&target).unwrap();
    symlink(&file, &target).unwrap();
    assert!(matches!(install(ClaudeCode, &bare(), &places), Err(Error::Io { .. })));
}

#[test]
fn variables_move_the_hosts_folders() {
    let local = tempfile::tempdir().unwrap();
    let found = |pairs: &[(&str, &Path)]| {
        let pairs: HashMap<String, OsString> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        Places::found(|name| pairs.get(name).cloned())
    };
    let home = local.path();
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    let places = found(&[
        (variable, home),
        ("CODEX_HOME", &home.join("c")),
        ("CLAUDE_CONFIG_DIR", &home.join("d")),
    ])
    .unwrap();
    assert_eq!(Codex.file(&places), home.join("c/config.toml"));
    assert_eq!(ClaudeCode.file(&places), home.join("d/.claude.json"));
    if cfg!(target_os = "linux") {
        let places = found(&[(variable, home), ("XDG_CONFIG_HOME", &home.join("x"))]).unwrap();
        assert_eq!(VsCode.file(&places), home.join("x/Code/User/mcp.json"));
        let places =
            found(&[(variable, home), ("XDG_CONFIG_HOME", Path::new("relative"))]).unwrap();
        assert_eq!(VsCode.file(&places), home.join(".config/Code/User/mcp.json"));
    }
    let packaged: PathBuf = home.join("Packages/Claude_x1/LocalCache/Roaming/Claude");
    fs::create_dir_all(&packaged).unwrap();
    let places = found(&[(variable, home), ("LOCALAPPDATA", home)]).unwrap();
    assert_eq!(places.claude_desktop, packaged);

    let error = found(&[(variable, Path::new("relative"))]).unwrap_err();
    assert!(error.to_string().contains(variable), "{error}");
}

#[test]
fn the_command_is_absolute() {
    let entry = Entry::of_this_program(Vec::new()).unwrap();
    assert!(Path::new(&entry.command).is_absolute(), "{entry:?}");
}
