//! The way through the tree: which target comes first, and which after a failure.
//!
//! Pure: it is given a number to roll where it chooses by weight.

use std::collections::VecDeque;

use super::{Group, Mode, Node, Strategy, Target};
use crate::llm::error::{Class, Failure, Phase};

/// A walk that is under way.
pub(in crate::llm) struct Walk<'a> {
    /// What is to be entered next, at the beginning.
    root: Option<&'a Node>,
    /// The groups around the current target, outermost first, with what is left of them.
    around: Vec<(&'a Strategy, VecDeque<&'a Node>)>,
}

impl<'a> Walk<'a> {
    pub(in crate::llm) fn new(root: &'a Node) -> Self {
        Self { root: Some(root), around: Vec::new() }
    }

    /// The first target; there always is one.
    pub(in crate::llm) fn first(&mut self, roll: &mut dyn FnMut() -> f64) -> Option<&'a Target> {
        let root = self.root.take()?;
        self.enter(root, roll)
    }

    /// The target after this failure of the last one, if it is one that another may do better.
    pub(in crate::llm) fn after(
        &mut self,
        failure: &Failure,
        roll: &mut dyn FnMut() -> f64,
    ) -> Option<&'a Target> {
        while let Some((strategy, left)) = self.around.last_mut() {
            // The failure of a group's last node is the group's.
            match left.pop_front().filter(|_| strategy.goes_on(failure)) {
                Some(node) => return self.enter(node, roll),
                None => self.around.pop(),
            };
        }
        None
    }

    /// Whether another target is asked if the current one is silent.
    pub(in crate::llm) fn has_spare(&self) -> bool {
        let silent = Failure::new(Class::Timeout(Phase::Headers), "");
        self.around.iter().any(|(strategy, left)| !left.is_empty() && strategy.goes_on(&silent))
    }

    fn enter(&mut self, mut node: &'a Node, roll: &mut dyn FnMut() -> f64) -> Option<&'a Target> {
        loop {
            match node {
                Node::Target(target) => return Some(target),
                Node::Group(group) => {
                    let mut order = order(group, roll);
                    node = order.pop_front()?;
                    self.around.push((&group.strategy, order));
                }
            }
        }
    }
}

/// A group's nodes in the order in which they are asked.
fn order<'a>(group: &'a Group, roll: &mut dyn FnMut() -> f64) -> VecDeque<&'a Node> {
    let mut left: Vec<_> = group.nodes.iter().map(|(weight, node)| (*weight, node)).collect();
    if group.strategy.mode == Mode::Single {
        left.truncate(1);
    }
    if group.strategy.mode != Mode::Loadbalance {
        return left.into_iter().map(|(_, node)| node).collect();
    }
    let mut order = VecDeque::new();
    while !left.is_empty() {
        let (_, node) = left.remove(pick(left.iter().map(|(weight, _)| *weight), roll()));
        order.push_back(node);
    }
    order
}

/// Which of these weights a number from 0 to 1 hits.
fn pick(weights: impl Iterator<Item = f64> + Clone, roll: f64) -> usize {
    let mut rest = roll.clamp(0.0, 1.0) * weights.clone().sum::<f64>();
    let mut last = 0;
    for (at, weight) in weights.enumerate().filter(|(_, weight)| *weight > 0.0) {
        if rest < weight {
            return at;
        }
        rest -= weight;
        last = at;
    }
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::route::Routes;

    fn routes(json: &Value) -> Routes {
        Routes::read(json).unwrap()
    }

    /// The names of the targets that are asked when all fail in this way.
    fn asked(routes: &Routes, failure: &Failure, mut roll: impl FnMut() -> f64) -> Vec<String> {
        let mut walk = Walk::new(&routes.root);
        let mut names = Vec::new();
        let mut target = walk.first(&mut roll);
        while let Some(it) = target {
            names.push(it.name.clone());
            target = walk.after(failure, &mut roll);
        }
        names
    }

    fn target(name: &str) -> Value {
        json!({"name": name, "provider": "openai", "override_params": {"model": name}})
    }

    fn failed(status: u16) -> Failure {
        Failure::new(Class::of_status(status), "").with_status(status)
    }

    fn fallback(strategy: Value) -> Routes {
        routes(&json!({"strategy": strategy, "targets": [target("a"), target("b")]}))
    }

    #[test]
    fn a_fallback_goes_on_after_what_it_lists() {
        let check = |strategy: Value, failure: Failure, goes_on: bool| {
            let asked = asked(&fallback(strategy.clone()), &failure, || 0.5).len();
            assert_eq!(asked == 2, goes_on, "{strategy} {failure}");
        };
        let listed = json!({"mode": "fallback", "on_status_codes": [429, 503]});
        check(listed.clone(), failed(429), true);
        check(listed.clone(), failed(500), false);
        check(listed.clone(), failed(529), true);
        check(listed.clone(), failed(400), false);
        check(listed.clone(), failed(401), false);
        for class in [Class::Connect, Class::Stream, Class::Timeout(Phase::Idle)] {
            check(listed.clone(), Failure::new(class, ""), true);
            let only =
                json!({"mode": "fallback", "on_status_codes": [429], "on_errors": ["stream"]});
            check(only, Failure::new(class, ""), class == Class::Stream);
        }
        check(listed.clone(), Failure::new(Class::ContextLength, ""), true);
        check(listed, Failure::new(Class::ContentFilter, ""), false);
        let any = json!({"mode": "fallback"});
        check(any.clone(), failed(401), true);
        check(any.clone(), failed(500), true);
        check(any.clone(), failed(400), false);
        check(any, Failure::new(Class::ContentFilter, ""), false);
        let bad = json!({"mode": "fallback", "on_status_codes": [400]});
        check(bad.clone(), failed(400), true);
        check(bad, Failure::new(Class::ContentFilter, ""), false);
    }

    #[test]
    fn a_load_balance_has_spares_where_codes_stand() {
        let with = |strategy: Value| fallback(strategy);
        let roll = || 0.9;
        let bare = with(json!({"mode": "loadbalance"}));
        assert_eq!(asked(&bare, &failed(500), roll), ["b"]);
        let codes = with(json!({"mode": "loadbalance", "on_status_codes": [500]}));
        assert_eq!(asked(&codes, &failed(500), roll), ["b", "a"]);
        assert_eq!(asked(&codes, &failed(401), roll), ["b"]);
        let open = Failure::new(Class::BreakerOpen, "");
        assert_eq!(asked(&bare, &open, roll), ["b", "a"]);
    }

    #[test]
    fn a_group_fails_as_its_last_node_does() {
        let inner = json!({"strategy": {"mode": "fallback", "on_status_codes": [429]},
            "targets": [target("a"), target("b")]});
        let tree = routes(&json!({"strategy": {"mode": "fallback", "on_status_codes": [429, 500]},
            "targets": [inner, target("c")]}));
        assert_eq!(asked(&tree, &failed(429), || 0.0), ["a", "b", "c"]);
        assert_eq!(asked(&tree, &failed(500), || 0.0), ["a", "c"]);
    }

    #[test]
    fn weights_are_shares() {
        let mut share = json!({"strategy": {"mode": "loadbalance"}, "targets": [target("a"), target("b"), target("c")]});
        for (at, weight) in [0.7, 0.0, 0.3].into_iter().enumerate() {
            share["targets"][at]["weight"] = json!(weight);
        }
        let routes = routes(&share);
        let first = |roll: f64| asked(&routes, &failed(500), || roll).remove(0);
        let firsts = (0..1000).map(|n| first(f64::from(n) / 1000.0));
        let mut counts = std::collections::BTreeMap::new();
        firsts.for_each(|name| *counts.entry(name).or_insert(0) += 1);
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("a".into(), 700), ("c".into(), 300)]);
        assert_eq!(first(1.0), "c");
    }

    fn any_tree() -> impl Strategy2<Value = Value> {
        let leaf = "[a-z]{1,6}".prop_map(|name| target(&name));
        leaf.prop_recursive(3, 20, 4, |inner| {
            let weighted = (inner, 0..3u8).prop_map(|(mut node, weight)| {
                node["weight"] = json!(f64::from(weight) + 0.5);
                node
            });
            (any::<bool>(), proptest::collection::vec(weighted, 1..4)).prop_map(|(even, nodes)| {
                let mode = if even { "loadbalance" } else { "fallback" };
                json!({"strategy": {"mode": mode, "on_status_codes": [500]}, "targets": nodes})
            })
        })
    }

    use proptest::strategy::Strategy as Strategy2;

    proptest! {
        #[test]
        fn it_always_picks_a_target_while_one_is_left(tree in any_tree(), rolls in proptest::collection::vec(0.0..=1.0f64, 1..30)) {
            let routes = routes(&tree);
            let mut rolls = rolls.into_iter().cycle();
            let mut asked = asked(&routes, &failed(500), || rolls.next().unwrap());
            let mut all: Vec<_> = routes.targets().iter().map(|it| it.name.clone()).collect();
            asked.sort();
            all.sort();
            prop_assert_eq!(asked, all);
        }
    }
}
