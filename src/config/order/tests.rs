//! Each rule's order, by example and by its laws.

use proptest::prelude::*;

use super::*;
use crate::{config::keys, jail::Isolation};

#[test]
fn every_key_has_a_rule_of_its_own() {
    let without: Vec<_> =
        keys().into_iter().filter(|key| listed(&key.key).is_none()).map(|key| key.key).collect();
    assert!(without.is_empty(), "say in `listed` what a project may say for {without:?}");
    assert_eq!(rule("sandbox.new_one"), Rule::Users(UNKNOWN));
}

/// A value as it stands in a file.
fn value(toml: &str) -> Option<Value> {
    let table: toml::Table = format!("it = {toml}").parse().unwrap();
    table.get("it").cloned()
}

#[test]
fn of_two_values_the_tighter_one_is_known() {
    let check = |key: &str, tighter: &str, looser: &str| {
        let (tight, loose) = (value(tighter), value(looser));
        let rule = rule(key);
        assert!(as_tight(rule, tight.as_ref(), loose.as_ref()), "{key}: {tighter} {looser}");
        assert!(!as_tight(rule, loose.as_ref(), tight.as_ref()), "{key}: {looser} {tighter}");
        assert!(as_tight(rule, tight.as_ref(), tight.as_ref()), "{key}: {tighter}");
    };
    check("sandbox.network", "'none'", "'full'");
    check("sandbox.network", "'loopback'", "'full'");
    check("sandbox.network", "'none'", "'loopback'");
    check("sandbox.pids", "100", "1024");
    check("sandbox.fs_read", "[]", "['/data']");
    check("sandbox.fs_write", "['/a']", "['/a', '/b']");
    check("sandbox.env_allow", "['LC_ALL', 'TZ']", "['LC_*', 'TZ', 'LANG']");
    check("sandbox.env_allow", "['LC_A*']", "['LC_*']");
    check("dedup.mode", "'window'", "'off'");
    check("dedup.same_result_refuse", "6", "0");
    check("dedup.notebook_inspect.cycle_turns", "2", "3");
    check("dedup.forget_seconds", "700", "600");
    check("dedup.volatile", "['a', 'b']", "['a']");
    check("breaker.consecutive_faults", "1", "0");
    check("breaker.count_errors", "true", "false");
    check("breaker.open_seconds", "31.5", "30");
    check("limits.tokens_per_hour", "5", "0");
    check("limits.session.max_seconds", "5", "6.5");
    check("cells.timeout", "1", "3600.0");
    check("launch.attach", "false", "true");
    check("wire.max_parts", "16", "17");
    check("notebook.file", "'a/b.ipynb'", "'b.ipynb'");
    check("notebook.file", "'{session}/b.ipynb'", "'none'");
    let incomparable = |key: &str, one: &str, other: &str| {
        let (one, other) = (value(one), value(other));
        assert!(!as_tight(rule(key), one.as_ref(), other.as_ref()), "{key}");
        assert!(!as_tight(rule(key), other.as_ref(), one.as_ref()), "{key}");
    };
    incomparable("dedup.mode", "'window'", "'progress'");
    incomparable("sandbox.fs_read", "['/a']", "['/b']");
    incomparable("python", "'a'", "'a'");
}

#[test]
fn what_is_unset_has_no_limit() {
    let some = Value::Integer(5);
    for key in ["sandbox.file_size_bytes", "limits.session.max_cells", "breaker.fault_share"] {
        assert!(as_tight(rule(key), Some(&some), None), "{key}");
        assert!(!as_tight(rule(key), None, Some(&some)), "{key}");
    }
}

#[test]
fn a_level_is_never_exchanged_for_one_that_may_be_weaker() {
    use Isolation::{Auto, Landlock, Namespaces, None as Nothing};
    let check = |project: (Isolation, Level), own: (Isolation, Level), expected: bool| {
        let levels = |(isolation, least): (Isolation, Level)| isolation.levels(least);
        let got = levels_as_tight(&levels(project), &levels(own));
        assert_eq!(got, expected, "{project:?} for {own:?}");
    };
    let least = Level::Landlock;
    check((Namespaces, least), (Auto, least), true);
    check((Auto, Level::Namespaces), (Auto, least), true);
    check((Landlock, least), (Auto, least), false);
    check((Nothing, least), (Auto, least), false);
    check((Auto, Level::None), (Auto, least), false);
    check((Auto, least), (Landlock, least), true);
    // Where Landlock does not work it would come down to nothing.
    check((Auto, Level::None), (Landlock, Level::None), false);
    check((Landlock, Level::None), (Nothing, Level::None), true);
    check((Auto, least), (Nothing, least), true);
}

fn values(rule: Rule) -> BoxedStrategy<Option<Value>> {
    match rule {
        Rule::Words(words) => {
            let words: Vec<_> = words.iter().map(|(word, _)| Value::from(*word)).collect();
            proptest::sample::select(words).prop_map(Some).boxed()
        }
        Rule::Flag(_) => any::<bool>().prop_map(|it| Some(Value::Boolean(it))).boxed(),
        Rule::Part | Rule::PartOfPatterns | Rule::More => {
            let name = proptest::sample::select(vec!["a", "ab", "a*", "b", "*"]);
            let list = proptest::collection::vec(name.prop_map(Value::from), 0..4);
            list.prop_map(|list| Some(Value::Array(list))).boxed()
        }
        Rule::Record => {
            let files = ["none", "a.ipynb", "{session}/a.ipynb", "a/b.ipynb"];
            let files = files.map(|file| Some(Value::from(file)));
            proptest::sample::select(files.to_vec()).boxed()
        }
        _ => prop_oneof![
            Just(None),
            (0i64..6).prop_map(|it| Some(Value::Integer(it))),
            (0.0..6.0).prop_map(|it| Some(Value::Float(it))),
        ]
        .boxed(),
    }
}

fn a_rule_and_three_values() -> impl Strategy<Value = (Rule, [Option<Value>; 3])> {
    let rules: Vec<Rule> = keys().iter().map(|key| rule(&key.key)).collect();
    let comparable = |rule: &Rule| !matches!(rule, Rule::Users(_) | Rule::Inside | Rule::Levels);
    let rules: Vec<Rule> = rules.into_iter().filter(comparable).collect();
    proptest::sample::select(rules).prop_flat_map(|rule| {
        let three = [values(rule), values(rule), values(rule)];
        (Just(rule), three)
    })
}

proptest! {
    #[test]
    fn as_tight_as_is_an_order((rule, [a, b, c]) in a_rule_and_three_values()) {
        let holds = |x: &Option<Value>, y: &Option<Value>| as_tight(rule, x.as_ref(), y.as_ref());
        prop_assert!(holds(&a, &a), "{rule:?} {a:?}");
        // A project cannot go round in small steps.
        prop_assert!(!(holds(&a, &b) && holds(&b, &c)) || holds(&a, &c), "{rule:?} {a:?} {b:?} {c:?}");
    }

    #[test]
    fn levels_have_an_order_too(of in proptest::collection::vec((0usize..4, 0usize..3), 3)) {
        use Isolation::{Auto, Landlock, Namespaces, None as Nothing};
        let all: Vec<Vec<Level>> = of.iter().map(|(isolation, least)| {
            let least = [Level::None, Level::Landlock, Level::Namespaces][*least];
            [Auto, Namespaces, Landlock, Nothing][*isolation].levels(least)
        }).collect();
        let holds = |x: usize, y: usize| levels_as_tight(&all[x], &all[y]);
        prop_assert!(holds(0, 0));
        prop_assert!(!(holds(0, 1) && holds(1, 2)) || holds(0, 2), "{all:?}");
        // What no level of the user's allows, none of the project's does.
        prop_assert!(!holds(0, 1) || all[0].iter().min() >= all[1].iter().min(), "{all:?}");
    }
}
