//! husk's own environments: made once, never half, never by two at a time.

use std::time::Duration;

use husk::sandbox::python::{Interpreter, Origin, candidates, discover};

use super::scratch::{Lines, Scratch, chain, run};
use super::{check_says, found, quiet, refused};

/// Real venv, real pip.
#[tokio::test]
async fn two_at_once_make_one_environment_and_the_next_finds_it() {
    let scratch = Scratch::new();
    let base = scratch.bare_environment("base").join("bin/python");
    scratch.shim("bin/python3", &base);
    let wanted = scratch.wanted();
    let ((one, _rest), (two, _more)) = (Lines::new(), Lines::new());
    let (first, second) = tokio::join!(discover(&wanted, &one), discover(&wanted, &two));
    let first = first.unwrap_or_else(|why| unreachable!("{}", chain(&why)));
    assert_eq!((first.origin, Some(&first)), (Origin::Managed, second.as_ref().ok()));
    assert!(first.prefix.join(".husk-complete").is_file());
    run(&first.executable, ["-c", "import ipykernel, pip"]);
    let said = [one.all(), two.all()];
    let count = |part| said.iter().filter(|lines| lines.contains(part)).count();
    assert_eq!(
        (count("making a Python environment"), count("waiting for another husk")),
        (1, 1),
        "{said:?}"
    );
    assert_eq!(count("Successfully installed"), 1, "{said:?}");
    let (again, _rest) = Lines::new();
    assert_eq!(discover(&wanted, &again).await.unwrap(), first);
    assert_eq!(again.all(), "");
    assert!(candidates(&wanted).await.pop().unwrap().outcome.is_ok());
}

/// Real pip, and no network needed to fail.
#[tokio::test]
async fn a_failed_installation_shows_the_command_and_what_pip_said_last() {
    let scratch = Scratch::new();
    scratch.shim("bin/python3", &scratch.bare_environment("base").join("bin/python"));
    let mut wanted = scratch.wanted();
    wanted.packages = vec!["ipykernel @ file:///no/such/ipykernel-7.0-py3-none-any.whl".into()];
    let said = refused(&wanted).await;
    check_says(
        &said,
        &[
            "could not make the Python environment",
            "/bin/python -m pip install",
            "'ipykernel @ file:",
            "ERROR: ",
        ],
    );
    assert!(
        scratch
            .environments()
            .iter()
            .all(|name| { !scratch.path("data/envs").join(name).join(".husk-complete").exists() })
    );
}

#[tokio::test]
async fn an_aborted_making_is_begun_anew() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    // ipykernel is there already, the rest is not: without its mark the folder must not count.
    let half = "touch \"$0.installed\"; echo Downloading numpy; exec sleep 60";
    std::fs::write(scratch.path("pip"), half).unwrap();
    let wanted = scratch.wanted();
    let (lines, mut heard) = Lines::new();
    tokio::select! {
        done = discover(&wanted, &lines) => unreachable!("{done:?}"),
        () = async { while heard.recv().await.unwrap() != "Downloading numpy" {} } => {}
    }
    std::fs::remove_file(scratch.path("pip")).unwrap();
    let (lines, _heard) = Lines::new();
    // A tool that was not killed would hold the lock for a minute.
    let soon = tokio::time::timeout(Duration::from_secs(30), discover(&wanted, &lines));
    assert_eq!(soon.await.unwrap().unwrap().origin, Origin::Managed);
    check_says(
        &lines.all(),
        &["removing an environment that is unfinished", "making a Python environment", "ready"],
    );
}

/// What a killed husk leaves: its tool lives on for a while, and must not write beside the next one.
#[tokio::test]
async fn a_tool_that_outlives_its_husk_is_waited_for() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    let left = scratch.path("left");
    let orphan =
        format!("exec 3<&0; sleep 60 <&3 >/dev/null 2>&1 & echo $! > '{}'; exit 1", left.display());
    std::fs::write(scratch.path("pip"), orphan).unwrap();
    let wanted = scratch.wanted();
    check_says(
        &refused(&wanted).await,
        &["-m pip install", "exit status: 1", "Downloading ipykernel"],
    );
    std::fs::remove_file(scratch.path("pip")).unwrap();
    let (lines, mut heard) = Lines::new();
    let (done, ()) = tokio::join!(discover(&wanted, &lines), async {
        assert_eq!(heard.recv().await.unwrap(), "waiting for another husk that is making it");
        run("/bin/kill", [std::fs::read_to_string(&left).unwrap().trim()]);
    });
    assert_eq!(done.unwrap().origin, Origin::Managed);
}

#[tokio::test]
async fn an_environment_that_no_longer_works_is_made_anew() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    let wanted = scratch.wanted();
    let done: Interpreter = found(&wanted).await;
    std::fs::remove_file(done.executable.with_extension("installed")).unwrap();
    check_says(
        &chain(candidates(&wanted).await.pop().unwrap().outcome.as_ref().unwrap_err()),
        &["has no ipykernel"],
    );
    assert_eq!(found(&wanted).await, done);
}

#[tokio::test]
async fn the_same_packages_share_an_environment_and_others_do_not() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.11.7");
    let mut wanted = scratch.wanted();
    let mut folder_of = async |packages: &[&str]| {
        wanted.packages = packages.iter().map(ToString::to_string).collect();
        found(&wanted).await.executable
    };
    let first = folder_of(&["ipykernel", "Foo_Bar>=1, <2"]).await;
    assert_eq!(folder_of(&["foo.bar >= 1,<2", "ipykernel"]).await, first);
    assert_ne!(folder_of(&["foo.bar>=1", "ipykernel"]).await, first);
    scratch.maker("bin/python3", "3.12.0");
    assert_ne!(folder_of(&["ipykernel", "Foo_Bar>=1, <2"]).await, first);
}

#[tokio::test]
async fn debian_without_venv_is_recognised() {
    let scratch = Scratch::new();
    let fields = serde_json::json!({"executable": scratch.path("bin/python3"), "ipykernel": null});
    let knows = scratch.answering("elsewhere/python", fields);
    let said =
        "The virtual environment was not created successfully because ensurepip is not\navailable.";
    let venv = format!(
        "case \"$*\" in '-m venv '*) echo '{said}'; exit 1;; *) exec '{}';; esac",
        knows.display()
    );
    scratch.script("bin/python3", &venv);
    check_says(
        &refused(&scratch.wanted()).await,
        &["apt install python3-venv", "python3.11-venv", "uv"],
    );
}

#[tokio::test]
async fn without_any_python_it_is_said_what_was_looked_for_where() {
    let scratch = Scratch::new();
    scratch.script("bin/python", "echo 'Unknown option: -I' >&2; exit 2");
    scratch.maker("bin/python3", "3.6.15");
    let bin = scratch.path("bin").display().to_string();
    check_says(
        &refused(&scratch.wanted()).await,
        &["no Python >=3.9", "`python3`, `python`", &bin, "Python 3.6.15 at", "apt install", "uv"],
    );
}

const UV: &str = r#"echo "uv $*" >> "$0.log"
case "$1" in
--version) echo "uv 0.9.0" ;;
venv) exec FALLBACK -m venv "$5" ;;
pip) exec "$4" -m pip install "$@" ;;
esac"#;

#[tokio::test]
async fn uv_makes_the_environment_if_it_runs() {
    let scratch = Scratch::new();
    let python = scratch.maker("bin/python3", "3.11.7");
    scratch.script("bin/uv", "echo 'pyenv: uv: command not found' >&2; exit 127");
    scratch.script("tools/uv", &UV.replace("FALLBACK", &python.display().to_string()));
    let made = found(&scratch.wanted()).await;
    let log = std::fs::read_to_string(scratch.path("tools/uv.log")).unwrap();
    let venv = format!(
        "uv venv --seed --python {} {}",
        python.display(),
        scratch.path("data/envs/default-").display()
    );
    let install = format!("uv pip install --python {} -- ipykernel", made.executable.display());
    check_says(&log, &[&venv, &install]);
}

#[tokio::test]
async fn without_a_python_uv_brings_one() {
    let scratch = Scratch::new();
    let hidden = scratch.maker("elsewhere/python", "3.14.0");
    scratch.script("tools/uv", &UV.replace("FALLBACK", &hidden.display().to_string()));
    assert_eq!(discover(&scratch.wanted(), &quiet).await.unwrap().version, "3.14.0");
    check_says(
        &std::fs::read_to_string(scratch.path("tools/uv.log")).unwrap(),
        &["uv venv --seed --python >=3.9 "],
    );
}
