//! As whom kernels run: for a server that is root, each as an unprivileged user of its own.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use serde_json::{Value, json};

use super::{groups::layer, planted::environment, stage::As};
use crate::support::{HUSK, host::Host, python};

/// The user and the group of a session's kernel, as the machine sees them.
fn ids(host: &mut Host, session: &str) -> (String, String) {
    let status = host.tool("sandbox_status", json!({ "session": session }));
    let pid = status.structured()["sessions"][0]["pid"].as_u64().unwrap();
    let told = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let ids: BTreeSet<&str> = line.split_whitespace().collect();
        assert_eq!(ids.len(), 1, "real, effective, saved and for files: {line}");
        ids.into_iter().next().unwrap().to_owned()
    };
    (line("Uid:"), line("Gid:"))
}

fn run(host: &mut Host, session: &str, code: &str) -> Value {
    let answer = host.tool("notebook_run_cell", json!({ "code": code, "session": session }));
    assert_eq!(answer.status(), "ok", "{code}: {answer:?}");
    answer.structured().clone()
}

#[test]
fn each_kernel_of_a_server_that_is_root_has_a_user_of_its_own() {
    let Some(As::Root) = As::all().first() else { return };
    let home = As::Root.folder();
    let mut host = As::Root.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
    for session in ["one", "two"] {
        run(&mut host, session, &format!("open('{session}', 'w').close()"));
    }
    let (one, two) = (ids(&mut host, "one"), ids(&mut host, "two"));
    assert_ne!(one.0, two.0);
    assert_ne!(one.1, two.1);
    for id in [&one.0, &one.1, &two.0, &two.1] {
        assert!(id.parse::<u32>().unwrap() > 1000, "{id}");
    }
    for session in ["one", "two"] {
        let made = fs::metadata(host.workspace.path().join(session)).unwrap();
        assert_eq!((made.uid(), made.gid()), (0, 0), "{session}");
    }
    // What one keeps for itself the other does not see.
    run(&mut host, "one", "open('/tmp/mine', 'w').close()");
    run(&mut host, "two", "import os; assert 'mine' not in os.listdir('/tmp')");
}

/// No user can be mapped there, so that what another one wrote would not be root's.
#[test]
fn behind_landlock_a_kernel_of_root_is_root_without_privileges_and_that_is_told() {
    let Some(As::Root) = As::all().first() else { return };
    let home = As::Root.folder();
    let mut host = As::Root.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "landlock")]);
    host.ok("1");
    let user = layer(&mut host, "user");
    assert_eq!(user["state"], "partial", "{user}");
    assert_eq!(user["detail"], "root of this machine, without its privileges");
    let privileges = layer(&mut host, "privileges");
    assert_eq!(privileges["detail"], "NoNewPrivs: 1; CapEff: 0000000000000000");
}

#[test]
fn an_interpreter_that_only_root_may_enter_works_for_root_and_is_named_to_others() {
    let Some(As::Root) = As::all().first() else { return };
    let hidden = tempfile::tempdir().unwrap();
    let packages = environment(hidden.path());
    fs::write(packages.join("planted.py"), "").unwrap();
    fs::set_permissions(hidden.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let interpreter = hidden.path().join(".venv/bin/python");
    let tests = python().parent().unwrap().parent().unwrap().to_owned();
    let start = |user: As, level: &str| {
        let (home, workspace) = (user.folder(), user.folder());
        let mut command = user.command(HUSK);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home.path());
        command.env("HUSK_PYTHON", &interpreter).env("HUSK_SANDBOX_FS_READ", &tests);
        command.env("HUSK_SANDBOX_ISOLATION", level).current_dir(workspace.path());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        host.cell("import sys; print(sys.prefix)")
    };
    for level in ["namespaces", "landlock"] {
        let answer = start(As::Root, level);
        assert!(answer.text().contains("/.venv"), "{level}: {answer:?}");
    }
    let refused = start(As::User, "namespaces");
    assert!(refused.is_error(), "{refused:?}");
    assert!(refused.text().contains(interpreter.to_str().unwrap()), "{refused:?}");
}

/// Variables of a server hold keys: what it starts has none of them.
#[test]
fn neither_an_init_nor_a_kernel_has_the_variables_of_its_server() {
    for (user, level) in
        As::all().iter().flat_map(|user| [(*user, "namespaces"), (*user, "landlock")])
    {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", level)]);
        let own = host.ok("import os; print(sorted(os.environ))");
        assert!(!own.contains("SECRET") && own.contains("PATH"), "{user:?} {level}: {own}");
        let tasks = fs::read_dir(format!("/proc/{}/task", host.child.id())).unwrap();
        let inits: String = tasks
            .map(|task| fs::read_to_string(task.unwrap().path().join("children")).unwrap())
            .collect();
        assert!(!inits.trim().is_empty());
        for init in inits.split_whitespace() {
            let told = fs::read(format!("/proc/{init}/environ")).unwrap();
            assert_eq!(String::from_utf8_lossy(&told), "", "{user:?} {level}");
        }
    }
}

/// The sandbox has a `/tmp` of its own, in which the folders above the workspace are its own too.
#[test]
fn a_home_in_the_folder_for_temporary_files_may_hold_the_workspace() {
    for user in As::all() {
        let home = user.folder();
        let workspace = home.path().join("work");
        let data = user.folder();
        let answer = {
            let mut command = user.command(HUSK);
            fs::create_dir(&workspace).unwrap();
            std::os::unix::fs::chown(&workspace, Some(user.uid()), Some(user.uid())).unwrap();
            command.env_clear().env("PATH", "/usr/bin:/bin");
            command.env("HOME", home.path()).env("HUSK_DATA_DIR", data.path());
            command.env("HUSK_PYTHON", python()).env("HUSK_SANDBOX_ISOLATION", "namespaces");
            command.arg("--workspace").arg(&workspace).current_dir(&workspace);
            let mut host = Host::run(command, tempfile::tempdir().unwrap());
            host.initialize("2025-11-25");
            host.cell(
                "import pathlib; pathlib.Path(HOME).joinpath('made').touch()"
                    .replace("HOME", &format!("{:?}", home.path()))
                    .as_str(),
            )
        };
        assert_eq!(answer.status(), "ok", "{user:?}: {answer:?}");
        assert!(!home.path().join("made").exists());
    }
}
