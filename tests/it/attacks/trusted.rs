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
