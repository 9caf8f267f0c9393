//! Inline script metadata (PEP 723): what is read from a script, and the environment it gets.

use husk::sandbox::python::inline::{Metadata, parse, script_environment};
use husk::sandbox::python::{Interpreter, Wanted};

use super::scratch::{Scratch, chain};
use super::{check_says, quiet};

const PLAIN: &str = "# /// script\n# dependencies = [\"numpy\"]\n# ///\n";

#[test]
fn a_block_is_read_by_the_rules_of_the_standard() {
    let numpy = || Some(Metadata { dependencies: vec!["numpy".into()], requires_python: None });
    let empty = || Some(Metadata::default());
    let unclosed = "# /// script\n# dependencies = []\n";
    let long = "# /// script\n# dependencies = [\n#   \"numpy\",\n#\n#   # why not\n# ]\n# ///\nimport numpy\n";
    let cases = [
        (String::new(), None),
        (PLAIN.into(), numpy()),
        (format!("#!/usr/bin/env python\n\"\"\"What it does.\"\"\"\n{PLAIN}x = 1\n"), numpy()),
        (PLAIN.trim_end().into(), numpy()),
        (PLAIN.replace('\n', "\r\n"), numpy()),
        (format!("\u{feff}{PLAIN}"), numpy()),
        (long.into(), numpy()),
        (format!("{PLAIN}# An ordinary comment follows at once.\n"), numpy()),
        (format!("# /// pyproject\n# dependencies = 1\n# ///\n\n{PLAIN}"), numpy()),
        ("# /// script\n# [tool.uv]\n# x = 1\n# ///\n".into(), empty()),
        // Closed only by the last end of the run, so the second block is content of the first.
        (format!("# /// pyproject\n# x = 1\n# ///\n{PLAIN}"), None),
        (unclosed.into(), None),
        (format!("{unclosed}\n# ///\n"), None),
        (format!("{unclosed}\n{PLAIN}"), numpy()),
        ("# /// script\n# ///\n".into(), None),
        ("# /// script\n#dependencies = []\n# ///\n".into(), None),
        (format!(" {PLAIN}"), None),
        (PLAIN.replace("script\n", "script \n"), None),
        (PLAIN.replace("# ///\n", "# /// \n"), None),
    ];
    for (source, expected) in cases {
        let parsed =
            parse(&source).unwrap_or_else(|why| unreachable!("{source:?}: {}", chain(&why)));
        assert_eq!(parsed, expected, "{source:?}");
    }
}

#[test]
fn what_is_wrong_in_a_block_is_said() {
    let block = |line: &str| format!("x = 1\n# /// script\n# {line}\n# ///\n");
    let cases: [(String, &[&str]); 9] = [
        (format!("{PLAIN}\n{PLAIN}"), &["2 `# /// script` blocks (lines 1, 5)", "merge"]),
        (block("dependencies = ["), &["block on line 2", "TOML"]),
        (block("dependencies = \"numpy\""), &["block on line 2", "expected a sequence"]),
        (
            block("requires-python = \"3.11 or so\""),
            &["`requires-python = \"3.11 or so\"`", ">=3.11"],
        ),
        (block("dependencies = [\"-r secrets.txt\"]"), &["`-r secrets.txt` is not a requirement"]),
        (block("dependencies = [\"--index-url=x\"]"), &["is not a requirement"]),
        (block("dependencies = [\"../evil\"]"), &["is not a requirement"]),
        (block("dependencies = [\"a/../../evil\"]"), &["is not a requirement"]),
        (block("dependencies = [\"\"]"), &["is not a requirement"]),
    ];
    for (source, expected) in cases {
        check_says(&chain(&parse(&source).unwrap_err()), expected);
    }
    for good in [
        "a",
        "A.b_c-d",
        "a[x,y]>=1",
        "a (>=1)",
        "a==1.*",
        "a~=1",
        "a!=1",
        "a<2",
        "a; os_name=='nt'",
        "a @ https://x/y.whl",
    ] {
        assert!(parse(&block(&format!("dependencies = [\"{good}\"]"))).is_ok(), "{good}");
    }
}

fn script(requires: &str, dependencies: &[&str]) -> Metadata {
    Metadata {
        dependencies: dependencies.iter().map(ToString::to_string).collect(),
        requires_python: (!requires.is_empty()).then(|| requires.parse().unwrap()),
    }
}

async fn made(metadata: &Metadata, wanted: &Wanted) -> Interpreter {
    script_environment(metadata, wanted, &quiet)
        .await
        .unwrap_or_else(|why| unreachable!("{}", chain(&why)))
}

#[tokio::test]
async fn a_script_gets_a_python_that_it_asks_for() {
    let scratch = Scratch::new();
    let mine = scratch.maker("mine/python", "3.10.1");
    for version in ["3.9.1", "3.12.4", "3.13.0"] {
        let minor = version.rsplit_once('.').unwrap().0;
        scratch.maker(&format!("bin/python{minor}"), version);
    }
    scratch.maker("bin/python3", "3.8.2");
    scratch.maker("bin/python", "3.11.7");
    let cases = [
        ("", "3.10.1"),
        (">=3.9,<3.13", "3.10.1"),
        (">=3.11", "3.11.7"),
        (">=3.12", "3.13.0"),
        ("==3.12.*", "3.12.4"),
    ];
    for (requires, expected) in cases {
        assert_eq!(
            made(&script(requires, &[]), &scratch.asking_for(&mine)).await.version,
            expected,
            "{requires}"
        );
    }
    assert_eq!(made(&script("", &[]), &scratch.wanted()).await.version, "3.11.7");
}

#[tokio::test]
async fn scripts_that_need_the_same_share_an_environment() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    let wanted = scratch.wanted();
    let first = made(&script(">=3.9", &["b", "A_a>=1"]), &wanted).await;
    assert_eq!(made(&script(">=3.9", &["a-a >=1", "b"]), &wanted).await, first);
    assert_ne!(made(&script(">=3.10", &["b", "A_a>=1"]), &wanted).await, first);
    assert_ne!(made(&script(">=3.9", &["b"]), &wanted).await, first);
    assert_eq!(
        scratch
            .environments()
            .iter()
            .filter(|name| name.starts_with("script-") && !name.ends_with(".lock"))
            .count(),
        3
    );
}

#[tokio::test]
async fn a_version_that_nobody_has_is_an_error_that_names_what_there_is() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    scratch.script("bin/python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127");
    let fault =
        script_environment(&script(">=3.99", &[]), &scratch.wanted(), &quiet).await.unwrap_err();
    let found = format!("Python 3.11.7 at `{}`", scratch.path("bin/python3").display());
    check_says(&chain(&fault), &["no Python >=3.99", &found, "python3.12`, which does not run"]);
    let fault = script_environment(&script("", &[]), &scratch.asking_for("python3.12"), &quiet)
        .await
        .unwrap_err();
    check_says(&chain(&fault), &["pyenv: python3.12: command not found"]);
}
