//! Which Python the kernel runs on: what is found where, in which order, and what is said of the ones that do not serve.

mod environment;
mod inline;
mod scratch;

use std::path::{Path, PathBuf};

use husk::sandbox::python::{Error, Interpreter, Origin, Wanted, candidates, discover};
use scratch::{Scratch, chain, real_python};
use serde_json::json;

fn quiet(_: &str) {}

async fn found(wanted: &Wanted) -> Interpreter {
    discover(wanted, &quiet).await.unwrap_or_else(|why| unreachable!("{}", chain(&why)))
}

async fn refused(wanted: &Wanted) -> String {
    chain(&discover(wanted, &quiet).await.unwrap_err())
}

/// Every part has to be said.
fn check_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_python_is_asked_for_by_path_by_folder_or_by_name() {
    let scratch = Scratch::new();
    let real = real_python();
    scratch.shim("bin/mine", &real);
    let folder = real.parent().unwrap().parent().unwrap();
    for given in [&real, folder, Path::new("mine"), Path::new("../bin/mine")] {
        let found = found(&scratch.asking_for(given)).await;
        assert_eq!((found.executable, found.origin), (real.clone(), Origin::Explicit), "{given:?}");
        assert!(found.version.starts_with("3.") && !found.ipykernel.is_empty());
        assert_eq!(found.prefix, folder);
    }
}

#[tokio::test]
async fn a_python_that_was_asked_for_is_refused_and_no_other_is_taken() {
    let scratch = Scratch::new();
    scratch.shim("bin/python3", &real_python());
    let bare = scratch.bare_environment("bare").join("bin/python");
    let said = refused(&scratch.asking_for(&bare)).await;
    let mend = format!("uv pip install --python {} ipykernel", bare.display());
    check_says(&said, &["has no ipykernel", &mend, "-m ensurepip"]);
}

#[tokio::test]
async fn what_is_missing_is_said_with_the_command_that_mends_it() {
    let scratch = Scratch::new();
    let none = json!({"ipykernel": null, "missing": ["ipykernel"]});
    let with = |more: serde_json::Value| {
        let mut fields = none.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let cases = [
        (
            none.clone(),
            "`/opt/py/bin/python` (Python 3.11.7) has no ipykernel; install it with `/opt/py/bin/python -m pip install ipykernel`",
        ),
        (
            with(json!({"executable": "/o p/python"})),
            "install it with `'/o p/python' -m pip install ipykernel`",
        ),
        (
            with(json!({"system": true})),
            "`/opt/py/bin/python -m venv .venv && .venv/bin/python -m pip install ipykernel` and give it with `--python .venv`",
        ),
        (with(json!({"in_user_site": true})), "`/opt/py/bin/python -I -m pip install ipykernel`"),
        (
            json!({"ipykernel": "5.5.6"}),
            "has ipykernel 5.5.6, and husk needs 6 or newer; install it with `/opt/py/bin/python -m pip install --upgrade ipykernel`",
        ),
        (
            json!({"missing": ["zmq", "tornado"]}),
            "has ipykernel, but not zmq, tornado, which it needs; install it with `/opt/py/bin/python -m pip install pyzmq tornado`",
        ),
        (json!({"version": [3, 8, 18]}), "is Python 3.8.18; a kernel needs Python 3.9 or newer"),
    ];
    for (fields, expected) in cases {
        scratch.answering("bin/fake", fields);
        check_says(&refused(&scratch.asking_for("fake")).await, &[expected]);
    }
}

#[tokio::test]
async fn a_place_without_a_python_is_said_to_be_what_it_is() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("bin/plain"), "").unwrap();
    std::os::unix::fs::symlink("/gone/python3", scratch.path("bin/broken")).unwrap();
    std::fs::create_dir_all(scratch.path("empty/bin")).unwrap();
    scratch.script("bin/two", "echo 'Unknown option: -I' >&2; exit 2");
    scratch.script("bin/shim", "echo 'pyenv: python3.12: command not found' >&2; exit 127");
    scratch.script("bin/hello", "echo hello");
    scratch
        .script("bin/endless", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done");
    let bin = scratch.path("bin").display().to_string();
    let cases: [(&str, &[&str]); 9] = [
        ("no-such", &["`no-such`", &bin, "--python"]),
        ("../bin/no-such", &["nothing is there"]),
        ("../bin/plain", &["is not executable", "chmod +x"]),
        ("../bin/broken", &["broken link", "`/gone/python3` is gone"]),
        ("../empty", &["without `bin/python`", "-m venv"]),
        ("two", &["is Python 2;"]),
        ("shim", &["(exit status: 127): pyenv: python3.12: command not found"]),
        ("hello", &["did not answer as a Python does; it wrote: hello"]),
        ("endless", &["bin/endless` failed", "SIGPIPE"]),
    ];
    for (given, expected) in cases {
        check_says(&refused(&scratch.asking_for(given)).await, expected);
    }
}

/// The paused clock jumps as soon as nothing but the interpreter's silence is left.
#[tokio::test(start_paused = true)]
async fn an_interpreter_that_hangs_is_given_up_after_ten_seconds() {
    let scratch = Scratch::new();
    scratch.script("bin/hangs", "exec /bin/sleep 60");
    let begun = tokio::time::Instant::now();
    check_says(
        &refused(&scratch.asking_for("hangs")).await,
        &["did not answer within 10 s and was killed"],
    );
    assert_eq!(begun.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn the_first_place_with_a_python_that_serves_is_taken() {
    let scratch = Scratch::new();
    let mut wanted = scratch.wanted();
    wanted.surroundings.virtual_env = Some(scratch.path("active"));
    wanted.surroundings.conda_prefix = Some(scratch.path("conda"));
    let serves = |name: &str| {
        let fields = json!({"executable": scratch.path(name)});
        scratch.answering(name, fields)
    };
    let places =
        ["active/bin/python", "project/.venv/bin/python", "bin/python3", "bin/python"].map(serves);
    serves("conda/bin/python");
    let origins =
        [Origin::ActiveEnvironment, Origin::ProjectEnvironment, Origin::Path, Origin::Path];
    for (python, origin) in places.iter().zip(origins) {
        let found = found(&wanted).await;
        assert_eq!((&found.executable, found.origin), (python, origin));
        let name = python.strip_prefix(scratch.path("")).unwrap().to_str().unwrap();
        scratch.answering(name, json!({"ipykernel": null}));
    }
    wanted.surroundings.virtual_env = None;
    assert_eq!(found(&wanted).await.executable, scratch.path("conda/bin/python"));
}

#[tokio::test]
async fn what_cannot_be_run_on_path_is_passed_over() {
    let scratch = Scratch::new();
    let mut wanted = scratch.wanted();
    std::fs::write(scratch.path("bin/python3"), "").unwrap();
    std::fs::create_dir_all(scratch.path("folder/python3")).unwrap();
    std::fs::create_dir(scratch.path("links")).unwrap();
    std::os::unix::fs::symlink("/gone/python3", scratch.path("links/python3")).unwrap();
    scratch.script("shims/python3", "echo 'pyenv: python3: command not found' >&2; exit 127");
    scratch.shim("last/python3", &real_python());
    let folders = ["bin", "folder", "links", "shims", "last"].map(|name| scratch.path(name));
    wanted.surroundings.path = Some(std::env::join_paths(folders).unwrap());
    let found = found(&wanted).await;
    assert_eq!((found.executable, found.origin), (real_python(), Origin::Path));
}

#[tokio::test]
async fn a_relative_folder_on_path_is_not_searched() {
    let scratch = Scratch::new();
    let mut wanted = scratch.asking_for("python3");
    let up = PathBuf::from("../".repeat(std::env::current_dir().unwrap().components().count()));
    let relative = up.join(scratch.path("bin").strip_prefix("/").unwrap());
    scratch.shim("bin/python3", &real_python());
    assert!(relative.join("python3").exists());
    wanted.surroundings.path = Some(relative.into());
    check_says(&refused(&wanted).await, &["no program named `python3`"]);
}

#[tokio::test]
async fn every_place_is_reported_and_nothing_is_made() {
    let scratch = Scratch::new();
    scratch.maker("bin/python3", "3.12.4");
    std::os::unix::fs::symlink("python3", scratch.path("bin/python")).unwrap();
    let all = candidates(&scratch.asking_for("nowhere")).await;
    let text = |outcome: &Result<Interpreter, Error>| {
        outcome.as_ref().map_or_else(|why| chain(why), |_| "serves".into())
    };
    let all: Vec<_> = all.iter().map(|one| (one.origin, text(&one.outcome))).collect();
    let expected = [
        (Origin::Explicit, "no program named `nowhere`"),
        (Origin::ActiveEnvironment, "neither VIRTUAL_ENV nor CONDA_PREFIX is set"),
        (Origin::ProjectEnvironment, "project/.venv`"),
        (Origin::Path, "(Python 3.12.4) has no ipykernel"),
        (Origin::Managed, "is not made yet"),
    ];
    assert_eq!(all.len(), expected.len(), "{all:?}");
    for ((origin, text), (expected, part)) in all.iter().zip(expected) {
        assert_eq!(*origin, expected);
        check_says(text, &[part]);
    }
    assert!(scratch.environments().is_empty());
}
