//! How husk's image is made, as far as that can be judged without making it, and what the README of the manifests names.

use std::fs;

use super::folder;
use crate::support::{husk, repository};

#[test]
fn the_image_is_made_of_what_is_there() {
    let text = fs::read_to_string(folder().join("Containerfile")).unwrap();
    let cargo = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let mut copied = 0;
    for line in text.lines().filter(|line| line.starts_with("COPY ") && !line.contains("--from")) {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        for source in &words[..words.len() - 1] {
            assert!(repository().join(source).exists(), "{line}");
            copied += 1;
        }
    }
    assert!(copied > 2);
    let build = text.lines().find(|line| line.contains("cargo build")).unwrap();
    let features = build.split("--features ").nth(1).unwrap();
    for feature in features.split([',', ' ']).take_while(|word| !word.is_empty() && *word != "&&") {
        assert!(cargo.contains(&format!("\n{feature} = [")), "{feature}");
    }
    // The toolchain is not older than the one that the package asks for.
    let version = |text: &str| {
        let mut parts = text.split('.').map(|part| part.parse::<u32>().unwrap());
        (parts.next().unwrap(), parts.next().unwrap())
    };
    let asked = cargo.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let taken = text.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(version(taken) >= version(asked), "{taken} {asked}");
}

#[test]
fn what_the_readme_names_is_there() {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut named = 0;
    for word in text.split(['`', '(', ')', ' ', '\n']) {
        let place = match word {
            _ if ["examples/", "tests/", "docs/"].iter().any(|root| word.starts_with(root)) => {
                repository()
            }
            _ if word.ends_with(".yaml") => folder(),
            _ => continue,
        };
        // What make-secrets makes is the user's.
        if !word.contains("/secrets/") {
            assert!(place.join(word).exists(), "README.md names `{word}`");
            named += 1;
        }
    }
    assert!(named > 5);
}

#[test]
fn what_the_readme_has_husk_do_is_understood() {
    let text = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut asked = 0;
    for line in text.lines() {
        let Some(at) = line.find("husk --").filter(|at| *at == 0 || line.contains(" -- husk"))
        else {
            continue;
        };
        let words = line[at..].split_whitespace().skip(1).map(|word| word.trim_matches('\''));
        // A file of settings that is not here is no matter of the words.
        let words: Vec<&str> = words.take_while(|word| *word != "-c").collect();
        let output = husk().args(&words).arg("--help").output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        asked += 1;
    }
    assert!(asked > 2);
}
