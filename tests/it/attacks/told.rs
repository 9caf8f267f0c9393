//! What the README tells of the attacks is what the table holds, which the other tests have run.

use std::{collections::BTreeMap, fs};

use super::TABLE;
use crate::support::repository;

/// The words in quotes at the beginning of each line of a Python dictionary, and what comes after.
fn entries(name: &str) -> Vec<(&'static str, &'static str)> {
    let start = TABLE.find(&format!("\n{name} = {{\n")).unwrap();
    let body = TABLE[start..].split_once("{\n").unwrap().1.split_once("\n}\n").unwrap().0;
    let entry = |line: &'static str| line.strip_prefix("    \"")?.split_once("\": ");
    body.lines().filter_map(entry).collect()
}

/// A row for each way in which levels and networks decide.
fn markdown() -> String {
    let known: BTreeMap<&str, &str> = entries("KNOWN")
        .into_iter()
        .map(|(name, at)| (name, at.trim_matches([',', '"'])))
        .collect();
    let (attacks, bombs) = (entries("ATTACKS"), entries("BOMBS"));
    let answers = [
        ("", "refused", "refused"),
        ("landlock", "refused", "open"),
        ("full", "open with `full`", "open with `full`"),
        ("landlock full", "refused", "open with `full`"),
    ];
    let mut table = format!(
        "| {} attacks, {} bombs | `namespaces` | `landlock` |\n|---|---|---|\n",
        attacks.len(),
        bombs.len()
    );
    let mut told = 0;
    for (at, namespaces, landlock) in answers {
        let all = attacks.iter().chain(&bombs).map(|(name, _)| *name);
        let names: Vec<&str> =
            all.filter(|name| known.get(name).copied().unwrap_or_default() == at).collect();
        told += names.len();
        table.push_str(&format!("| {} | {namespaces} | {landlock} |\n", names.join("; ")));
    }
    assert_eq!(told, attacks.len() + bombs.len(), "each is in one row");
    table
}

#[test]
fn the_readme_tells_the_attacks() {
    const START: &str =
        "<!-- attacks: generated, UPDATE=1 cargo test the_readme_tells_the_attacks -->\n";
    let path = repository().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(START).unwrap();
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    let expected = markdown();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{START}{expected}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "UPDATE=1 rewrites it");
}
