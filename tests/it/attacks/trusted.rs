//! What other programs run or trust in a workspace is kept from cells.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use super::stage::As;

#[test]
fn what_other_programs_trust_in_the_workspace_is_only_read() {
    for user in As::all() {
        let (home, outside) = (user.folder(), user.folder());
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
        let workspace = host.workspace.path().to_owned();
        let files = [
            ".git/hooks/pre-commit",
            ".git/config",
            ".git/index",
            ".mcp.json",
            ".vscode/tasks.json",
            "husk.toml",
        ];
        for file in files {
            let path = workspace.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            for part in path.ancestors().take_while(|part| *part != workspace) {
                user.own(part);
            }
        }
        // A link that an earlier cell has left is not followed.
        fs::write(outside.path().join("secret"), "").unwrap();
        symlink(outside.path(), workspace.join(".cursor")).unwrap();
        host.tool("notebook_interrupt", json!({ "restart": true }));
        host.ok("import os");
        for attack in [
            "open('.git/hooks/pre-commit', 'w')",
            "open('.git/hooks/new', 'w')",
            "open('.git/config', 'w')",
            "os.unlink('.git/config')",
            "open('.git/commondir', 'w')",
            "open('.git/index', 'w')",
            "os.rename('.git', 'moved')",
            "os.rename('.git/hooks', 'hooks')",
            "open('.mcp.json', 'a')",
            "os.unlink('.mcp.json')",
            "os.replace('new', '.mcp.json')",
            "open('.vscode/new', 'w')",
            "os.rename('.vscode', 'moved')",
            "open('husk.toml', 'w')",
            "open('.husk/forged', 'w')",
            "os.rename('.husk', 'moved')",
            "os.listdir('.cursor')",
            "os.unlink('.cursor')",
            "os.rename('.cursor', 'moved')",
        ] {
            let answer = host.cell(&format!("open('new', 'w').close(); {attack}"));
            assert_eq!(answer.status(), "error", "{user:?}: {attack}: {answer:?}");
        }
        assert_eq!(host.ok("open('.git/index').read() + open('.mcp.json').read()"), "''");
        // The record goes on meanwhile.
        assert!(
            !host.tool("sandbox_status", json!({})).structured()["sessions"][0]["notebook"]
                .is_null()
        );
        for file in files {
            assert_eq!(fs::read_to_string(workspace.join(file)).unwrap(), "", "{file}");
        }
    }
}

#[test]
fn what_other_programs_would_trust_cannot_be_made_and_leaves_no_trace() {
    for user in As::all() {
        let home = user.folder();
        let mut host = user.host(home.path(), &[("HUSK_SANDBOX_ISOLATION", "namespaces")]);
        let workspace = host.workspace.path().to_owned();
        host.ok("import os, subprocess; open('mine', 'w').close()");
        for attack in [
            "os.mkdir('.git')",
            "open('.git', 'w').write('gitdir: elsewhere')",
            "os.makedirs('.git/hooks')",
            "subprocess.run(['git', 'init'], check=True)",
            "open('.mcp.json', 'w')",
            "os.replace('mine', '.mcp.json')",
            "os.symlink('mine', '.vscode')",
            "os.makedirs('.vscode/x')",
            "os.rmdir('.claude')",
            "os.rename('.cursor', 'moved')",
            "open('husk.toml', 'w')",
            "os.link('mine', 'husk.toml')",
        ] {
            let answer = host.cell(attack);
            assert_eq!(answer.status(), "error", "{user:?}: {attack}: {answer:?}");
        }
        // A second kernel goes, and the first is held as before.
        let second = json!({ "code": "1", "session": "second" });
        host.tool("notebook_run_cell", second.clone());
        host.tool("notebook_interrupt", json!({ "session": "second", "restart": true }));
        assert_eq!(host.cell("os.mkdir('.git')").status(), "error");
        // Its user is not in the way.
        assert!(workspace.join(".git").is_dir());
        fs::write(workspace.join(".git/HEAD"), "").unwrap();
        let settings = fs::read_to_string(workspace.join("husk.toml")).unwrap();
        assert!(settings.starts_with('#'), "{settings}");
        let left = host.into_workspace();
        let names = fs::read_dir(left.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, [".git", ".husk", "mine"], "{user:?}");
    }
}
