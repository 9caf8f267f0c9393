//! What an earlier cell has left in the workspace for husk itself to find: it runs in a sandbox too,
//! and opens nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::stage::As;
use crate::support::{HUSK, host::Host, python};

/// A virtual environment like one that a user has made: its packages are those of the tests' own.
pub(super) fn environment(parent: &Path) -> PathBuf {
    let folder = parent.join(".venv");
    let tests = python().parent().unwrap().parent().unwrap().to_owned();
    fs::create_dir_all(folder.join("bin")).unwrap();
    fs::copy(tests.join("pyvenv.cfg"), folder.join("pyvenv.cfg")).unwrap();
    symlink(python().canonicalize().unwrap(), folder.join("bin/python3")).unwrap();
    symlink("python3", folder.join("bin/python")).unwrap();
    let library = fs::read_dir(tests.join("lib")).unwrap().next().unwrap().unwrap();
    let packages = folder.join("lib").join(library.file_name()).join("site-packages");
    fs::create_dir_all(&packages).unwrap();
    let others = library.path().join("site-packages");
    // The second line runs whenever this Python starts, also when husk only asks it what it is.
    let paths = format!("{}\nimport planted\n", others.display());
    fs::write(packages.join("others.pth"), paths).unwrap();
    packages
}

/// A server that finds its Python by itself.
fn host(user: As, home: &Path, level: &str, plant: impl FnOnce(&Path)) -> Host {
    let workspace = user.folder();
    plant(workspace.path());
    let tests = python().parent().unwrap().parent().unwrap().to_owned();
    let mut command = user.command(HUSK);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", home);
    command.env("HUSK_SANDBOX_ISOLATION", level).env("HUSK_SANDBOX_FS_READ", tests);
    command.env("HUSK_DATA_DIR", home.join(".local/share/husk")).current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host
}

#[test]
fn an_environment_in_the_workspace_is_asked_in_a_sandbox() {
    for (user, level) in
        As::all().iter().flat_map(|user| [(*user, "namespaces"), (*user, "landlock")])
    {
        let (home, outside) = (user.folder(), user.folder());
        let pwned = outside.path().join("pwned");
        let mut host = host(user, home.path(), level, |workspace| {
            let packages = environment(workspace);
            let planted = format!(
                "try: open({pwned:?}, 'w').write('x')\nexcept OSError: pass\nelse: raise SystemExit\n"
            );
            fs::write(packages.join("planted.py"), planted).unwrap();
        });
        let prefix = host.ok("import sys, planted; print(sys.prefix)");
        assert!(prefix.contains("/.venv"), "{user:?} {level}: {prefix}");
        assert!(!pwned.exists(), "{user:?} {level}: it ran outside of a sandbox");
    }
}

#[test]
fn what_an_environment_in_the_workspace_says_of_itself_opens_nothing() {
    let user = *As::all().last().unwrap();
    let home = user.folder();
    fs::create_dir(home.path().join(".ssh")).unwrap();
    fs::write(home.path().join(".ssh/key"), "secret").unwrap();
    user.own(&home.path().join(".ssh/key"));
    let keys = home.path().join(".ssh");
    let mut host = host(user, home.path(), "namespaces", |workspace| {
        let packages = environment(workspace);
        fs::write(
            packages.join("planted.py"),
            format!("import sys\nif len(sys.argv) == 2: sys.prefix = sys.base_prefix = {keys:?}\n"),
        )
        .unwrap();
    });
    let answer = host.cell(&format!("open({:?}).read()", keys.join("key")));
    assert_eq!(answer.structured()["error"]["name"], "FileNotFoundError", "{answer:?}");
}

#[test]
fn the_variables_of_a_kernelspec_reach_nothing_outside_of_the_sandbox() {
    for user in As::all() {
        let (home, outside) = (user.folder(), user.folder());
        let pwned = outside.path().join("pwned");
        let mut host = user.host(home.path(), &[]);
        let workspace = host.workspace.path().to_owned();
        let source = format!(
            "#include <fcntl.h>\n__attribute__((constructor)) static void f(void) {{ open({:?}, O_CREAT | O_WRONLY, 0600); }}\n",
            pwned.display().to_string()
        );
        fs::write(workspace.join("planted.c"), source).unwrap();
        let library = workspace.join("planted.so");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([&library, &workspace.join("planted.c")])
            .status();
        assert!(compiled.unwrap().success());
        let folder = workspace.join(".venv/share/jupyter/kernels/planted");
        fs::create_dir_all(&folder).unwrap();
        let spec = json!({
            "argv": ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "planted", "language": "python",
            "env": { "LD_PRELOAD": library, "MARK": "seen" },
        });
        fs::write(folder.join("kernel.json"), spec.to_string()).unwrap();
        let arguments: Value = json!({
            "code": "import os; print(os.environ['MARK'])", "session": "other", "kernel": "planted",
        });
        let answer = host.tool("notebook_run_cell", arguments);
        assert!(answer.text().contains("seen"), "{answer:?}");
        assert!(!pwned.exists(), "{user:?}: it was loaded outside of the sandbox");
    }
}
