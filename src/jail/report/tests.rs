//! What a process shows of itself, and what the report makes of it.

use super::*;

fn process(status: &str) -> Outside {
    Outside {
        status: status.to_owned(),
        limits: "Max processes   1024   1024   processes\n".to_owned(),
    }
}

#[test]
fn a_layer_is_told_as_the_process_shows_it() {
    let good =
        process("NoNewPrivs:\t1\nSeccomp:\t2\nCapEff:\t0000000000000000\nUid:\t9\t9\t9\t9\n");
    assert_eq!(good.privileges().state, State::Enforced);
    assert_eq!(good.user().detail, "Uid: 9, the kernel's own");
    for bad in ["NoNewPrivs:\t0\nCapEff:\t00\n", "NoNewPrivs:\t1\nCapEff:\t0001\n", ""] {
        assert_eq!(process(bad).privileges().state, State::Absent, "{bad}");
    }
    let told = || vec![Layer::new("seccomp", State::Enforced, "4 filters")];
    let mut layers = told();
    good.confirm_seccomp(&mut layers);
    assert_eq!(layers[0].state, State::Enforced);
    let mut layers = told();
    process("Seccomp:\t0\n").confirm_seccomp(&mut layers);
    assert_eq!(layers[0].state, State::Absent);
}

#[test]
fn a_promise_that_is_not_kept_is_seen() {
    let mut report = Report {
        requested: "auto",
        effective: "namespaces",
        network: "none",
        hosts: Vec::new(),
        memory_bytes: None,
        layers: vec![Layer::new("seccomp", State::Enforced, "")],
        gaps: Vec::new(),
        passed_over: Vec::new(),
    };
    assert_eq!(report.broken(), None);
    // On an older Linux this level does without.
    report.layers.push(Layer::new("landlock", State::Absent, ""));
    assert_eq!(report.broken(), None);
    report.layers.push(Layer::new("namespaces", State::Absent, ""));
    assert!(report.broken().is_some());
}
