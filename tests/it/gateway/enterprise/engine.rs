//! What the example's settings make of Enterprise Gateway, and what it does by itself.

use std::fs;

use serde_json::json;

use super::{
    cell, place,
    site::{HOSTS, Site},
    two_sessions,
};

/// What a shell that is handed it as a value would do.
const BAIT: &str = "$(touch /tmp/taken)`touch /tmp/taken`";

/// Whether a shell on any host has taken the bait; it is laid out anew.
fn taken(site: &Site) -> bool {
    let look = "test -e /tmp/taken && rm /tmp/taken && echo taken || true";
    HOSTS.iter().any(|(name, _)| site.host(name).run(&["sh", "-c", look]) == "taken")
}

#[test]
fn nothing_that_callers_or_husks_environment_say_comes_into_a_shell_of_a_host() {
    let Some(site) = Site::start() else { return };
    // This gateway would: whatever variable it is sent.
    site.ask_for_a_kernel(&json!({ "env": { "KERNEL_BAIT": BAIT } }));
    assert!(taken(&site), "it has been mended: tell so in the example's README");
    let mut host = site.husk(&[("KERNEL_BAIT", BAIT), ("KERNEL_USERNAME", BAIT), ("BAIT", BAIT)]);
    let seen = host.ok("import os; dict(os.environ)");
    assert!(seen.contains("'USER': 'kernels'") && !seen.contains("BAIT"), "{seen}");
    assert!(!seen.contains("taken") && !seen.contains("HUSK"), "{seen}");
    let said = json!({ "code": "1", "session": BAIT, "description": BAIT });
    host.tool("notebook_run_cell", said);
    let said = json!({ "code": "1", "session": "b", "kernel": BAIT });
    host.tool("notebook_run_cell", said);
    host.tool("sandbox_reset", json!({ "session": "b", "kernel": BAIT }));
    assert!(!taken(&site));
}

#[test]
fn husk_doctor_finds_nothing_wrong_with_it() {
    let Some(site) = Site::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut doctor = site.command(folder.path());
    let output = doctor.arg("doctor").env("HUSK_DATA_DIR", folder.path().join("data")).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Enterprise Gateway 3.3.0"), "{said}");
}

#[test]
fn a_gateway_that_is_killed_and_started_anew_has_its_kernels_still() {
    let Some(mut site) = Site::start() else { return };
    let mut host = site.husk(&[]);
    two_sessions(&mut host);
    site.kill_gateway();
    site.begin();
    for answer in [host.cell("kept"), cell(&mut host, "other", "kept")] {
        assert!(answer.text().starts_with("'kept'"), "{answer:?}");
    }
}

#[test]
fn a_host_that_is_taken_out_of_the_list_has_its_kernels_still_and_gets_no_more() {
    let Some(site) = Site::start() else { return };
    let mut host = site.husk(&[]);
    let [stays, out] = two_sessions(&mut host);
    let (_, address) = HOSTS.iter().find(|(name, _)| *name == stays).unwrap();
    let file = site.file("gateway_config.py");
    let text = fs::read_to_string(&file).unwrap();
    let both = "[\"192.0.2.11\", \"192.0.2.12\"]";
    assert!(text.contains(both));
    fs::write(&file, text.replace(both, &format!("[{address:?}]"))).unwrap();
    site.says(|line| line.contains("Configuration file changes detected"));
    for session in ["a", "b"] {
        assert_eq!(place(&mut host, session)[0], stays);
    }
    assert_eq!(place(&mut host, "other")[0], out);
}

#[test]
fn the_gateways_own_class_tries_a_host_that_is_gone_and_the_caller_is_told_which() {
    let (ours, own) = (
        "living_hosts.LivingHosts",
        "enterprise_gateway.services.processproxies.distributed.DistributedProcessProxy",
    );
    let site = Site::start_changed(|example| {
        let file = example.join("kernels/python3/kernel.json");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(ours));
        fs::write(&file, text.replace(ours, own)).unwrap();
    });
    let Some(mut site) = site else { return };
    let (name, address) = HOSTS[0];
    site.kill_host(name);
    // This class knows no limit: a way that was used a moment ago is tried for a minute and more.
    site.forget(name);
    let mut host = site.husk(&[]);
    // Every other start is for it.
    let denied = ["a", "b"].into_iter().find_map(|session| {
        let answer = cell(&mut host, session, "1");
        answer.is_error().then_some((session, answer))
    });
    let (session, denied) = denied.unwrap();
    assert_eq!(denied.structured()["denied"]["code"], "kernel_start_failed", "{denied:?}");
    let told = format!("Failure occurred starting kernel on '{address}'");
    assert!(denied.text().contains(&told), "{denied:?}");
    assert!(denied.text().contains("try again: a gateway with several hosts"), "{denied:?}");
    assert_eq!(place(&mut host, session)[0], HOSTS[1].0);
}
