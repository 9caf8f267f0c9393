//! The names under which a model knows tools: what every provider takes, and each of them once.
//!
//! Pure.

use std::collections::BTreeSet;

use crate::base::canon::Digest;

/// The longest name that every provider takes.
const LONGEST: usize = 64;

/// How much of a digest tells apart what would have one name.
const DIGEST: usize = 6;

/// A name for each tool, in order; the server's name before it where one is given.
pub(super) fn of(origins: &[(Option<&str>, &str)]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |(server, tool): &(Option<&str>, &str)| {
        let whole = match server {
            Some(server) => format!("{server}__{tool}"),
            None => (*tool).to_owned(),
        };
        let plain = fitting(&whole);
        let name = if plain.len() > LONGEST || taken.contains(&plain) {
            short(&plain, &whole)
        } else {
            plain
        };
        taken.insert(name.clone());
        name
    };
    origins.iter().map(name).collect()
}

fn fitting(name: &str) -> String {
    let fits = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(fits).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Its beginning, and digits that no other has.
fn short(plain: &str, whole: &str) -> String {
    let digest = Digest::of_bytes(whole.as_bytes()).hex();
    let digest: String = digest.chars().take(DIGEST).collect();
    let begin: String = plain.chars().take(LONGEST - DIGEST - 1).collect();
    format!("{begin}_{digest}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_server_stands_before_the_tool_where_there_are_several() {
        assert_eq!(of(&[(None, "run")]), ["run"]);
        let two = [(Some("a"), "run"), (Some("b.c"), "run"), (Some("b/c"), "run")];
        let names = of(&two);
        assert_eq!(names[..2], ["a__run", "b_c__run"]);
        assert!(names[2].starts_with("b_c__run_"), "{names:?}");
    }

    proptest! {
        #[test]
        fn every_tool_has_a_name_of_its_own_that_every_provider_takes(
            tools in proptest::collection::btree_set(("[a-c./]{1,3}", ".{1,80}"), 0..12)
        ) {
            let origins: Vec<_> =
                tools.iter().map(|(server, tool)| (Some(server.as_str()), tool.as_str())).collect();
            let names = of(&origins);
            for name in &names {
                prop_assert!((1..=LONGEST).contains(&name.len()));
                let fits = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
                prop_assert!(name.chars().all(fits));
            }
            let own: BTreeSet<_> = names.iter().collect();
            prop_assert_eq!(own.len(), names.len());
        }
    }
}
