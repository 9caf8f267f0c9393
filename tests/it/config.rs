//! Settings through the public API: what each source may say, which one wins, and how the
//! settings are listed. What is refused, and in which words, stands in `faults`.
//!
//! Every case builds its sources by hand in a folder of its own; the process's environment and
//! home are not read, but for the platform's data folder.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a panic is the failure; these stand in what the tests share"
)]

mod faults;
mod project;
mod values;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use husk::config::{Config, Flag, Loaded, Origin, Sources, keys, load, markdown_table};

/// A folder with a project, a user's configuration and a home, and sources that point there.
struct Case {
    root: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().join("project");
        let user = root.path().join("user/husk/husk.toml");
        std::fs::create_dir(&project).unwrap();
        std::fs::create_dir_all(user.parent().unwrap()).unwrap();
        let sources = Sources {
            project,
            user: Some(user),
            home: Some(root.path().join("home")),
            ..Sources::default()
        };
        Self { root, sources }
    }

    fn project(self, toml: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.sources.project.join("husk.toml"), toml).unwrap();
        self
    }

    fn user(self, toml: &str) -> Self {
        std::fs::write(self.sources.user.as_ref().unwrap(), toml).unwrap();
        self
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.sources.env.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, key: &str, value: &str) -> Self {
        self.sources.flags.push(Flag::new(key, value, name));
        self
    }

    /// A file like the project's that the user has named, and so trusts.
    fn trusted(self, toml: impl AsRef<[u8]>) -> Self {
        self.project(toml).config_file("husk.toml")
    }

    fn config_file(mut self, name: &str) -> Self {
        self.sources.config_file = Some(name.into());
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The text of the error, with the case's folder shown as `ROOT`.
    fn refusal(&self) -> String {
        let faults = load(&self.sources).expect_err("should be refused");
        let root = self.root.path().to_str().unwrap();
        faults.to_string().replace(root, "ROOT")
    }

    /// Each fault on its line, without the head and the advice.
    fn faults(&self) -> Vec<String> {
        let text = self.refusal();
        let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
        lines.map(str::to_owned).collect()
    }

    /// The only fault, which must start and end with these words.
    fn check_fault(&self, start: &str, end: &str) {
        let faults = self.faults();
        assert_eq!(faults.len(), 1, "{faults:#?}");
        let fault = faults.concat();
        assert!(fault.starts_with(start) && fault.ends_with(end), "{fault}");
    }

    fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.origins.get(key).unwrap().to_string()
}

#[test]
fn without_sources_everything_is_default() {
    let loaded = Case::new().load();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.origins.values().all(|from| *from == Origin::Default));
    assert_eq!(loaded.origins.len(), keys().len());
    assert_eq!(loaded.config.log, "warn,husk=info,rmcp=error");
    assert_eq!(loaded.config.cells.timeout, 3600.0);
    assert_eq!(loaded.config.launch.packages.len(), 4);
}

#[test]
fn the_stronger_source_wins_and_is_named() {
    let user = |case: Case| case.user("\nlog = \"user\"");
    let project = |case: Case| user(case).project("# mine\n\n  log = \"project\"");
    let env = |case: Case| project(case).env("HUSK_LOG", "env");
    let flag = |case: Case| env(case).flag("--log", "log", "flag");
    let check = |case: Case, value: &str, from: &str| {
        let loaded = case.load();
        assert_eq!(loaded.config.log, value);
        let shown = origin(&loaded, "log");
        assert_eq!(shown.replace(case.root.path().to_str().unwrap(), "ROOT"), from);
    };
    check(Case::new(), "warn,husk=info,rmcp=error", "default");
    check(user(Case::new()), "user", "ROOT/user/husk/husk.toml:2");
    check(project(Case::new()), "project", "husk.toml:3");
    check(env(Case::new()), "env", "HUSK_LOG");
    check(flag(Case::new()), "flag", "--log");
}

#[test]
fn sections_of_different_sources_are_laid_over_one_another() {
    let case = Case::new()
        .user("[output]\nmax_images = 1\nmax_text_bytes = 2048\n[cells]\ntimeout = 5")
        .project("output.max_images = 2\nlaunch = { timeout = 1.5 }")
        .env("HUSK_CELLS_INTERRUPT_GRACE", "3");
    let config = case.load().config;
    assert_eq!(config.output.max_images, 2);
    assert_eq!(config.output.max_text_bytes, 2048);
    assert_eq!(config.cells.timeout, 5.0);
    assert_eq!(config.cells.interrupt_grace, 3.0);
    assert_eq!(config.launch.timeout, 1.5);
    assert_eq!(config.launch.packages, Config::default().launch.packages);
}

#[test]
fn every_key_can_be_set_by_variable_by_flag_and_in_the_file() {
    for key in keys() {
        if !values::is_built(&key) {
            continue;
        }
        let (toml, text) = values::another(&key);
        let cases = [
            Case::new().trusted(format!("{} = {toml}", key.key)),
            Case::new().env(&key.env, &text),
            Case::new().flag("--it", &key.key, &text),
        ];
        let [file, variable, flag] = cases.map(|case| {
            let loaded = case.load();
            assert_ne!(loaded.config, Config::default(), "{}", key.key);
            assert_ne!(origin(&loaded, &key.key), "default");
            let base = case.root.path().to_str().unwrap();
            format!("{:?}", loaded.config).replace(base, "ROOT")
        });
        assert_eq!(file, variable, "{}", key.key);
        assert_eq!(variable, flag, "{}", key.key);
    }
}

#[test]
fn texts_become_values_of_their_kind() {
    let packages = |text: &str, expected: &[&str]| {
        let config = Case::new().env("HUSK_LAUNCH_PACKAGES", text).load().config;
        assert_eq!(config.launch.packages, expected);
    };
    packages("numpy", &["numpy"]);
    packages(" numpy , pandas>=2,", &["numpy", "pandas>=2"]);
    packages("[\"a>=1,<2\", 'b']", &["a>=1,<2", "b"]);
    packages("[]", &[]);
    let case = Case::new()
        .env("HUSK_SESSION", "3")
        .env("HUSK_KERNEL", "true")
        .env("HUSK_CELLS_TIMEOUT", " 1e2 ");
    let config = case.load().config;
    assert_eq!(config.session.as_deref(), Some("3"));
    assert_eq!(config.kernel.as_deref(), Some("true"));
    assert_eq!(config.cells.timeout, 100.0);
}

#[test]
fn an_empty_variable_or_flag_counts_as_unset() {
    let case = Case::new()
        .project("session = \"mine\"")
        .env("HUSK_SESSION", "")
        .env("HUSK_NO_SUCH_THING", "")
        .flag("--session", "session", "");
    let loaded = case.load();
    assert_eq!(loaded.config.session.as_deref(), Some("mine"));
    assert_eq!(origin(&loaded, "session"), "husk.toml:1");
}

#[test]
fn other_peoples_variables_are_none_of_ours() {
    let case = Case::new().env("HUSKY_LOG", "x").env("husk_log", "y");
    assert_eq!(case.load().config, Config::default());
}

#[test]
fn of_two_flags_for_one_key_the_later_counts() {
    let case = Case::new().flag("--session", "session", "one").flag("-s", "session", "two");
    let loaded = case.load();
    assert_eq!(loaded.config.session.as_deref(), Some("two"));
    assert_eq!(origin(&loaded, "session"), "-s");
}

#[test]
fn a_relative_path_starts_where_it_is_said() {
    let check = |case: Case, expected: &str| {
        let expected = case.path(expected);
        let workspace = case.load().config.workspace.unwrap();
        // As texts: to `Path`, `a//b/./` equals `a/b`.
        assert_eq!(workspace.to_str(), expected.to_str());
    };
    check(Case::new().project("workspace = 'w'"), "project/w");
    check(Case::new().project("workspace = '.'"), "project");
    check(Case::new().project("workspace = './w//x/'"), "project/w/x");
    check(Case::new().trusted("workspace = '../w'"), "project/../w");
    check(Case::new().trusted("workspace = '~/w'"), "home/w");
    check(Case::new().trusted("workspace = '~'"), "home");
    check(Case::new().user("workspace = 'w'"), "user/husk/w");
    check(Case::new().env("HUSK_WORKSPACE", "w"), "project/w");
    check(Case::new().flag("--dir", "workspace", "w"), "project/w");
    let case = Case::new();
    std::fs::create_dir(case.path("project/conf")).unwrap();
    std::fs::write(case.path("project/conf/a.toml"), "workspace = 'w'").unwrap();
    check(case.config_file("conf/a.toml"), "project/conf/w");
    let absolute = Case::new().env("HUSK_WORKSPACE", "/w").load();
    assert_eq!(absolute.config.workspace.as_deref(), Some(Path::new("/w")));
}

#[test]
fn a_bare_python_is_left_to_be_found_on_path() {
    let check = |said: &str, expected: &str| {
        let case = Case::new().trusted(format!("python = '{said}'"));
        let python = case.load().config.python.unwrap();
        let expected = match expected.strip_prefix("ROOT/") {
            Some(below) => case.path(below),
            None => expected.into(),
        };
        assert_eq!(python, expected);
    };
    check("python3.13", "python3.13");
    check("./python3", "ROOT/project/python3");
    check(".venv/bin/python", "ROOT/project/.venv/bin/python");
    check("~/bin/python", "ROOT/home/bin/python");
    check("/usr/bin/python3", "/usr/bin/python3");
    let case = Case::new().env("HUSK_DATA_DIR", "data");
    assert_eq!(case.load().config.data_dir().unwrap(), case.path("project/data"));
}

#[test]
fn without_data_dir_the_platform_says_where() {
    let folder = Config::default().data_dir().unwrap();
    assert!(folder.is_absolute() && folder.ends_with("husk"), "{folder:?}");
}

#[test]
fn config_replaces_the_project_file_but_not_the_users() {
    let case = Case::new()
        .user("kernel = 'ir'")
        .project("session = 'project'\nlog = 'info'")
        .config_file("other.toml");
    std::fs::write(case.path("project/other.toml"), "session = 'other'").unwrap();
    let loaded = case.load();
    assert_eq!(loaded.config.session.as_deref(), Some("other"));
    assert_eq!(loaded.config.log, Config::default().log);
    assert_eq!(loaded.config.kernel.as_deref(), Some("ir"));
    assert_eq!(origin(&loaded, "session"), "other.toml:1");
}

#[test]
fn the_table_shows_value_and_origin_and_is_toml_again() {
    let case = Case::new()
        .user("kernel = 'ir'")
        .trusted("\n\n[cells]\ntimeout = 5\n[launch]\npackages = ['a\"b', 'c']")
        .env("HUSK_LOG", "info,x=\"y\"")
        .flag("--python", "python", "python3");
    let loaded = case.load();
    let table = loaded.table();
    let line = |start: &str, origin: &str| {
        let found = table.lines().find(|line| line.starts_with(start));
        let line = found.unwrap_or_else(|| panic!("no {start} in\n{table}"));
        assert!(line.ends_with(&format!("    # {origin}")), "{line}");
    };
    line("cells.timeout = 5.0 ", "husk.toml:4");
    line("cells.interrupt_grace = 1.0 ", "default");
    line("python = \"python3\" ", "--python");
    line("log = 'info,x=\"y\"' ", "HUSK_LOG");
    line("# session = ", "default");
    line("# data_dir = \"/", "default");
    line("kernel = \"ir\" ", &case.path("user/husk/husk.toml:1").display().to_string());
    assert_eq!(table.lines().count(), keys().len());
    let again = Case::new().trusted(&table).load();
    assert_eq!(again.config, loaded.config);
}

#[test]
fn keys_are_read_off_the_schema_with_variable_default_and_description() {
    let keys = keys();
    let named: Vec<_> = keys.iter().map(|key| key.key.as_str()).collect();
    let top = "connection_file data_dir kernel log python session workspace audit.";
    assert!(named.join(" ").starts_with(top), "{named:?}");
    for key in ["launch.packages", "output.max_images", "wire.max_parts"] {
        assert!(named.contains(&key), "{named:?}");
    }
    let variables: BTreeSet<_> = keys.iter().map(|key| &key.env).collect();
    assert_eq!(variables.len(), keys.len());
    for key in &keys {
        assert!(!key.description.is_empty(), "{} has no doc comment", key.key);
        assert!(!key.description.contains('\n'));
    }
    let timeout = keys.iter().find(|key| key.key == "cells.timeout").unwrap();
    assert_eq!(timeout.env, "HUSK_CELLS_TIMEOUT");
    assert_eq!(timeout.default.as_deref(), Some("3600.0"));
    assert_eq!(timeout.expected, "a number");
    assert!(keys.iter().any(|key| key.key == "session" && key.default.is_none()));
}

#[test]
fn the_markdown_table_has_a_row_for_each_key() {
    let table = markdown_table();
    assert_eq!(table.lines().count(), keys().len() + 2);
    for (row, key) in table.lines().skip(2).zip(keys()) {
        let columns = row.replace("\\|", "").matches('|').count();
        assert_eq!(columns, 5, "{row}");
        assert!(row.starts_with(&format!("| `{}` | `{}` | ", key.key, key.env)));
    }
}

#[test]
fn the_process_gives_only_our_variables() {
    let flags = vec![Flag::new("session", "a", "--session")];
    let sources = Sources::from_process(flags.clone(), Some("x.toml".into())).unwrap();
    assert_eq!(sources.flags, flags);
    assert_eq!(sources.config_file, Some("x.toml".into()));
    assert!(sources.project.is_absolute());
    assert!(sources.user.unwrap().ends_with("husk/husk.toml"));
    let ours = |name: &OsString| name.to_str().unwrap().starts_with("HUSK_");
    assert!(sources.env.iter().all(|(name, _)| ours(name)));
}
