//! The README says what is so: every block is run, parsed or compared.

use std::fs;

use serde_json::{Value, json};

use crate::support::{HUSK, host::Host, husk, repository};

/// A fenced block: what stands behind the fence, and its text.
pub(crate) struct Block {
    pub(crate) info: String,
    pub(crate) text: String,
}

fn readme() -> String {
    fs::read_to_string(repository().join("README.md")).unwrap()
}

pub(crate) fn blocks() -> Vec<Block> {
    let text = readme();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block { info: info.to_owned(), text: body.join("\n") });
        }
    }
    blocks
}

#[test]
fn every_kind_of_block_is_known_to_a_test() {
    let known = [
        "sh",
        "text",
        "python cell",
        "text answer",
        "json structured",
        "json cursor",
        "json claude-code",
        "json vscode",
        // In tests/llm.
        "json routes",
        // In `tenants`.
        "python redis",
        "toml codex",
        "toml settings",
    ];
    for block in blocks() {
        assert!(known.contains(&block.info.as_str()), "no test knows a block of `{}`", block.info);
    }
}

#[test]
fn the_settings_that_it_shows_are_understood() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("husk")).unwrap();
    // Of what this husk was built without, a setting is a fault.
    let is_built = |text: &str| {
        (cfg!(feature = "redis") || !text.contains("redis_url"))
            && (cfg!(feature = "gateway") || !text.contains("[gateway]"))
    };
    let shown = blocks().into_iter().filter(|block| block.info == "toml settings");
    let mut shown = shown.filter(|block| is_built(&block.text)).peekable();
    assert!(shown.peek().is_some());
    for block in shown {
        std::fs::write(home.path().join("husk/husk.toml"), &block.text).unwrap();
        let mut command = husk();
        command.arg("config").env("XDG_CONFIG_HOME", home.path()).current_dir(home.path());
        let answer = command.output().unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        let table = String::from_utf8(answer.stdout).unwrap();
        for line in block.text.lines().filter(|line| line.contains('=')) {
            let value = line.split_once('=').unwrap().1.trim();
            assert!(table.contains(value), "{line}: {table}");
        }
    }
}

#[test]
fn the_cells_answer_what_it_shows() {
    let mut host = Host::start(&["--session", "main"]);
    let mut answer = Value::Null;
    for block in blocks() {
        match block.info.as_str() {
            "python cell" => answer = host.cell(&block.text).0,
            "text answer" => {
                let texts: Vec<&str> = answer["content"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter_map(|b| b["text"].as_str())
                    .collect();
                let shown: Vec<&str> = texts.iter().map(|text| text.trim_end()).collect();
                assert_eq!(shown.join("\n"), block.text);
            }
            "json structured" => {
                // How long it took, and whether the kernel still told the cell's number, vary.
                let told = |mut value: Value| {
                    for varying in ["duration_ms", "execution_count"] {
                        value.as_object_mut().unwrap().remove(varying);
                    }
                    value
                };
                let shown = told(serde_json::from_str(&block.text).unwrap());
                assert_eq!(told(answer["structuredContent"].clone()), shown);
            }
            _ => {}
        }
    }
}

#[test]
fn the_entries_are_those_that_install_prints() {
    for block in blocks() {
        let Some(host) = block.info.strip_prefix("json ").or(block.info.strip_prefix("toml "))
        else {
            continue;
        };
        if ["structured", "settings", "routes"].contains(&host) {
            continue;
        }
        let output = husk().args(["install", host, "--print"]).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap().replace(HUSK, "/path/to/husk");
        assert_eq!(printed.trim_end(), block.text, "{host}");
    }
    let print = |host| husk().args(["install", host, "--print"]).output().unwrap().stdout;
    assert_eq!(print("claude-desktop"), print("cursor"), "the README shows one block for both");
}

#[test]
fn the_quickstart_runs_and_prints_what_it_shows() {
    let out = tempfile::tempdir().unwrap();
    // The script's environment takes a minute to make: it is kept with the other test tools.
    let output = husk()
        .args(["run", "examples/quickstart.py", "--out"])
        .arg(out.path())
        .env("HUSK_DATA_DIR", repository().join("target/test-data"))
        .current_dir(repository())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let shown = blocks().into_iter().find(|block| block.info == "text").unwrap();
    for line in shown.text.lines().filter(|line| *line != "…") {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    assert!(fs::read(out.path().join("quickstart-3-1.png")).unwrap().starts_with(b"\x89PNG"));
}

#[test]
fn the_commands_exist() {
    for block in blocks().iter().filter(|block| block.info == "sh") {
        for line in block.text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let args = match words.as_slice() {
                ["cargo", "run", "--release", "--", args @ ..] | ["husk", args @ ..] => args,
                ["cargo", "install", "--path", "."] => continue,
                ["cargo", "install", "--path", ".", "--features", feature] => {
                    let cargo = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
                    assert!(cargo.contains(&format!("\n{feature} = [")), "{line}");
                    continue;
                }
                // PostgreSQL's own, and the shell's.
                ["createdb" | "export", ..] => continue,
                [script] => {
                    assert!(repository().join(script).exists(), "{script}");
                    continue;
                }
                _ => panic!("no test knows the command `{line}`"),
            };
            let output = husk().args(args).arg("--help").output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn paths_that_it_and_the_other_documents_name_are_there() {
    let others = fs::read_dir(repository().join("docs")).unwrap();
    let others = others.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    for text in others.chain([readme()]) {
        for word in text.split(['`', '(', ')', '#', ' ', '\n']) {
            let is_path = ["docs/", "src/", "tests/", "examples/", "schemas/"]
                .iter()
                .any(|root| word.trim_start_matches("../").starts_with(root));
            if is_path {
                let path = repository().join("docs").join(word);
                let there = repository().join(word).exists() || path.exists();
                assert!(there, "a document names `{word}`");
            }
        }
    }
}

#[test]
fn the_settings_table_and_that_of_the_guards_are_those_of_the_code() {
    let settings = husk::config::markdown_table();
    let guards = husk::guard::about::markdown_table();
    for (name, table) in [("settings", settings), ("guards", guards)] {
        let begin = format!("<!-- {name}: generated, UPDATE=1 cargo test the_settings_table -->\n");
        let (text, end) = (readme(), "<!-- end -->");
        let (before, rest) = text.split_once(&begin).unwrap();
        let (kept, after) = rest.split_once(end).unwrap();
        let generated = format!("{}\n", table.trim_end());
        if std::env::var_os("UPDATE").is_some() {
            let text = format!("{before}{begin}{generated}{end}{after}");
            fs::write(repository().join("README.md"), text).unwrap();
        } else {
            assert_eq!(kept, generated, "UPDATE=1 cargo test the_settings_table");
        }
    }
    // The table names sections that there are.
    let keys = husk::config::keys();
    for guard in husk::guard::about::ALL {
        let section = format!("{}.", guard.section);
        assert!(keys.iter().any(|key| key.key.starts_with(&section)), "{section}");
    }
}

#[test]
fn the_tools_are_those_that_it_describes() {
    let mut host = Host::start(&[]);
    let listed = host.call("tools/list", json!({}));
    let text = readme();
    for tool in listed["result"]["tools"].as_array().unwrap() {
        let heading = format!("### `{} {{", tool["name"].as_str().unwrap());
        let line = text
            .lines()
            .find(|line| line.starts_with(&heading))
            .unwrap_or_else(|| panic!("{heading}"));
        for argument in tool["inputSchema"]["properties"].as_object().into_iter().flatten() {
            assert!(line.contains(argument.0), "{line} does not name `{}`", argument.0);
        }
    }
}
