//! What a project's `husk.toml` may say: it tightens what the user has, and never loosens it.

use std::os::unix::fs::symlink;

use husk::jail::{Isolation, Level, Network};

use super::{Case, origin};

#[test]
fn a_project_may_tighten_what_its_user_has() {
    let tight = "[sandbox]\nisolation = 'namespaces'\nmin_isolation = 'namespaces'\npids = 100\n\
        memory_bytes = 500_000_000\nfs_read = ['/data']\n[limits]\nrequests_per_minute = 5\n\
        [cells]\ntimeout = 10\n[dedup]\nsame_result_refuse = 4\n[wire]\nmax_parts = 100";
    let case = Case::new().user("sandbox.fs_read = ['/data', '/more']").project(tight);
    let loaded = case.load();
    assert_eq!(loaded.config.sandbox.isolation, Isolation::Namespaces);
    assert_eq!(loaded.config.sandbox.min_isolation, Level::Namespaces);
    assert_eq!(loaded.config.sandbox.fs_read, ["/data"].map(std::path::PathBuf::from));
    assert_eq!(loaded.config.limits.requests_per_minute, 5);
    assert_eq!(origin(&loaded, "sandbox.pids"), "husk.toml:4");
}

#[test]
fn a_project_that_loosens_is_refused_with_both_values_and_the_way() {
    let case =
        Case::new().user("[sandbox]\nnetwork = 'loopback'").project("\nsandbox.network = 'full'");
    let expected = "husk.toml:2:19: `sandbox.network` = \"full\" lets cells do more; a project's file \
        may only tighten what you have set (\"loopback\", ROOT/user/husk/husk.toml:2), because cells \
        can write it; if you want this, set it in `ROOT/user/husk/husk.toml`, with \
        HUSK_SANDBOX_NETWORK, or with --set sandbox.network=…";
    assert_eq!(case.faults(), [expected]);
}

/// Keys and values that no project may say to a user who has set nothing.
#[test]
fn what_loosens_the_defaults_is_refused() {
    let memory = |toml: &str| {
        let mut case = Case::new().project(toml);
        case.sources.memory = Some(8 << 30);
        case
    };
    memory("sandbox.memory_bytes = 4294967296").load();
    let refused = [
        "sandbox.isolation = 'none'",
        "sandbox.isolation = 'landlock'",
        "sandbox.min_isolation = 'none'",
        "sandbox.network = 'full'",
        "sandbox.network = 'loopback'",
        "sandbox.fs_read = ['/home']",
        "sandbox.fs_write = ['/data']",
        "sandbox.env_allow = ['*']",
        "sandbox.env_set = ['LD_PRELOAD=/w/x.so']",
        "sandbox.memory_bytes = 4294967297",
        "sandbox.pids = 1025",
        "sandbox.open_files = 5000",
        "sandbox.tmp_bytes = 2147483648",
        "limits.requests_per_minute = 0",
        "limits.tokens_per_hour = 1000001",
        "dedup.mode = 'off'",
        "dedup.notebook_run_cell.same_error_refuse = 4",
        "dedup.same_error_refuse = 0",
        "breaker.consecutive_faults = 0",
        "breaker.open_seconds = 1",
        "cells.timeout = 3601",
        "cells.max_sessions = 17",
        "launch.attach = true",
        "launch.packages = ['evil']",
        "wire.max_message_bytes = 9000000000",
        "notebook.file = 'none'",
        "notebook.file = '{session}.ipynb'",
        "output.max_kept_bytes = 9000000000",
        "python = '.venv/bin/python'",
        "data_dir = '.'",
        "connection_file = 'kernel.json'",
        "workspace = '/'",
    ];
    for toml in refused {
        let faults = memory(toml).faults();
        assert_eq!(faults.len(), 1, "{toml}: {faults:#?}");
        let (key, _) = toml.split_once(' ').unwrap();
        let fault = faults.concat();
        assert!(fault.contains(&format!("`{key}` = ")) && fault.contains("default)"), "{fault}");
    }
}

#[test]
fn the_user_may_say_all_of_it() {
    let loose = "sandbox.network = 'full'\npython = 'p'\n[cells]\ntimeout = 7200\n";
    for case in [
        Case::new().user(loose),
        Case::new().trusted(loose),
        Case::new()
            .env("HUSK_SANDBOX_NETWORK", "full")
            .env("HUSK_CELLS_TIMEOUT", "7200")
            .flag("--python", "python", "p"),
    ] {
        let config = case.load().config;
        assert_eq!((config.sandbox.network, config.cells.timeout), (Network::Full, 7200.0));
    }
    // A project may say as much as its user has said, and what a stronger source overrides counts for
    // nothing.
    let case = Case::new().user(loose).project("sandbox.network = 'full'\ncells.timeout = 7000");
    assert_eq!(case.load().config.cells.timeout, 7000.0);
    let case =
        Case::new().project("sandbox.network = 'full'").flag("--set", "sandbox.network", "none");
    assert_eq!(case.load().config.sandbox.network, Network::None);
}

#[test]
fn the_file_in_the_users_own_folder_is_the_users() {
    let mut case = Case::new().project("sandbox.network = 'full'");
    case.sources.user = Some(case.path("project/husk.toml"));
    assert_eq!(case.load().config.sandbox.network, Network::Full);
}

#[test]
fn isolation_is_judged_by_both_of_its_keys() {
    // Alone, `auto` might come down to nothing where the user wants `landlock` or no kernel.
    let user = "sandbox.isolation = 'landlock'\nsandbox.min_isolation = 'none'";
    let alone = Case::new().user(user).project("sandbox.isolation = 'auto'");
    assert_eq!(alone.faults().len(), 1);
    let both = "sandbox.isolation = 'auto'\nsandbox.min_isolation = 'landlock'";
    Case::new().user(user).project(both).load();
}

#[test]
fn a_projects_workspace_lies_in_the_users() {
    let check = |toml: &str, expected: Option<&str>| {
        let case = Case::new().project(format!("workspace = '{toml}'"));
        std::fs::create_dir(case.path("project/w")).unwrap();
        std::fs::create_dir(case.path("outside")).unwrap();
        symlink("w", case.path("project/inner")).unwrap();
        symlink(case.path("outside"), case.path("project/outer")).unwrap();
        symlink("gone", case.path("project/dangling")).unwrap();
        match expected {
            Some(below) => {
                let workspace = case.load().config.workspace.unwrap();
                assert_eq!(workspace, case.path(below).canonicalize().unwrap(), "{toml}");
            }
            None => {
                let fault = case.faults().concat();
                assert!(fault.contains("is not the workspace or a folder in it"), "{fault}");
            }
        }
    };
    check("w", Some("project/w"));
    check(".", Some("project"));
    // Under its real name: where the link leads later does not matter.
    check("inner", Some("project/w"));
    check("outer", None);
    check("outer/new", None);
    check("dangling", None);
    check("../outside", None);
    check("w/../../outside", None);
    check("new/../../outside", None);
    check("~", None);
    let new = Case::new().project("workspace = 'new/one'");
    assert!(new.load().config.workspace.unwrap().ends_with("project/new/one"));
    // In the home no folder is the user's workspace before one is named.
    let mut home = Case::new().project("workspace = 'w'");
    home.sources.home = Some(home.sources.project.clone());
    assert_eq!(home.faults().len(), 1);
}

#[test]
fn all_that_a_project_loosens_is_told_at_once_beside_other_faults() {
    let toml = "colour = 1\nsandbox.network = 'full'\ncells.timeout = 'x'\nlaunch.attach = true";
    let faults = Case::new().project(toml).faults();
    assert_eq!(faults.len(), 4, "{faults:#?}");
}

#[test]
fn an_address_is_refused_and_shown_without_its_password() {
    let check = |toml: &str, expected: &str| {
        let told = Case::new().project(toml).refusal();
        assert!(told.contains(expected) && !told.contains("hunter2"), "{toml}: {told}");
    };
    check("store.url = 'postgres://me:hunter2@db/husk'", "postgres://me@db/husk");
    check("store.url = ['postgres://me:hunter2@db/husk']", "must be a text");
    check("store.url = 'postgres://me:1/hunter2@db/husk'", "%40");
    check("store.url = 'hunter2'", "%40");
}

#[cfg(not(feature = "postgres"))]
#[test]
fn a_husk_without_postgresql_says_so_at_its_start() {
    let data = tempfile::tempdir().unwrap();
    let mut husk = crate::support::husk();
    husk.env("HUSK_STORE_URL", "postgres://me:hunter2@db/husk").env("HUSK_DATA_DIR", data.path());
    let output = husk.stdin(std::process::Stdio::null()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("--features postgres"), "{told}");
    assert!(told.contains("postgres://me@db/husk") && !told.contains("hunter2"), "{told}");
}
