//! On which host a session's kernel is, and what a caller sees when a host goes.

use std::time::Duration;

use serde_json::json;

use super::{
    WHERE, cell, place,
    site::{HOSTS, Site},
    two_sessions,
};
use crate::support::{processes::Watched, web::PATIENCE};

/// The processes of kernels on that host.
fn kernels(site: &Site, name: &str) -> Vec<Watched> {
    let host = site.host(name);
    let all = host.run(&["pgrep", "-u", "kernels", "-f", "launch_ipykernel"]);
    all.lines().map(|pid| host.process(pid)).collect()
}

#[test]
fn sessions_run_on_each_host_in_turn() {
    let Some(site) = Site::start() else { return };
    let mut host = site.husk(&[]);
    host.ok("pass");
    let places = ["a", "b", "c"].map(|session| place(&mut host, session));
    let known = |[name, address, user, _]: &[String; 4]| {
        user == "kernels" && HOSTS.contains(&(name.as_str(), address.as_str()))
    };
    assert!(places.iter().all(known), "{places:?}");
    let [a, b, c] = &places;
    assert!(a[0] != b[0] && a[3] != b[3] && a[0] == c[0] && a[3] == c[3], "{places:?}");
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert!(places.iter().all(|place| place[3] != own.to_str().unwrap()), "{places:?}");
    // No other kernel is to be had.
    let unknown =
        host.tool("notebook_run_cell", json!({ "code": "1", "session": "d", "kernel": "ir" }));
    assert_eq!(unknown.structured()["denied"]["code"], "kernel_start_failed", "{unknown:?}");
    // With husk they end.
    let kernels = HOSTS.map(|(name, _)| kernels(&site, name));
    drop(host);
    for kernel in kernels.iter().flatten() {
        kernel.must_end_within(PATIENCE, "a kernel");
    }
}

#[test]
fn a_host_that_goes_takes_its_sessions_along_and_no_others() {
    let Some(mut site) = Site::start() else { return };
    let mut host = site.husk(&[]);
    let [gone, stays] = two_sessions(&mut host);
    assert_ne!(gone, stays);
    let lost = host.begin_cell("import time; time.sleep(1000)");
    // It goes on until somebody opens its pipe, on its host.
    assert_eq!(cell(&mut host, "other", "os.mkfifo('/tmp/pipe')").status(), "ok");
    let code = "open('/tmp/pipe').read()\nprint(kept)";
    let going_on = host.begin_cell_with(json!({ "code": code, "session": "other" }));
    site.kill_host(&gone);
    let lost = host.result(lost);
    assert_eq!(lost.status(), "kernel_died", "{lost:?}");
    assert!(lost.text().starts_with("begun\n"), "{lost:?}");
    assert!(lost.text().contains("its gateway says that it died"), "{lost:?}");
    assert_eq!(lost.structured()["state_lost"], true, "{lost:?}");
    // Nobody else has noticed.
    site.host(&stays).run(&["sh", "-c", "echo >/tmp/pipe"]);
    let went_on = host.result(going_on);
    assert_eq!((went_on.status(), went_on.text().as_str()), ("ok", "begun\nkept\n"), "{went_on:?}");
    // New sessions, and the one whose kernel was lost, are on the host that is left.
    for session in ["new", "newer"] {
        assert_eq!(place(&mut host, session)[0], stays, "{session}");
    }
    let again = host.cell(WHERE);
    assert!(again.text().starts_with(&stays), "{again:?}");
    assert!(again.text().contains("this is a fresh kernel"), "{again:?}");
    assert_eq!(cell(&mut host, "other", "kept").text(), "'kept'");
}

#[test]
fn what_would_start_on_a_host_that_is_gone_starts_on_the_next() {
    let Some(mut site) = Site::start() else { return };
    let [(gone, _), (stays, _)] = HOSTS;
    // Nobody has noticed, for there is no kernel on it.
    site.kill_host(gone);
    // The first one is for it.
    site.ask_for_a_kernel(&json!({}));
    let mut host = site.husk(&[]);
    for session in ["a", "b"] {
        assert_eq!(place(&mut host, session)[0], stays, "{session}");
    }
}

#[test]
fn a_host_that_was_cut_off_gets_kernels_again_and_has_its_old_ones_still() {
    let site = Site::start_changed(|example| {
        let file = example.join("living_hosts.py");
        let text = std::fs::read_to_string(&file).unwrap();
        let (long, short) = ("ANSWERS, AGAIN = 3, 30", "ANSWERS, AGAIN = 3, 1");
        assert!(text.contains(long));
        std::fs::write(&file, text.replace(long, short)).unwrap();
    });
    let Some(site) = site else { return };
    let mut host = site.husk(&[]);
    let [cut, stays] = two_sessions(&mut host);
    let old = kernels(&site, &cut);
    let lost = host.begin_cell("import time; time.sleep(1000)");
    site.cut_off(&cut);
    assert_eq!(host.result(lost).status(), "kernel_died");
    assert_eq!(place(&mut host, "new")[0], stays);
    site.mend(&cut);
    // Other sessions than one that is reset: a reset waits for its kernel, however long the way there is.
    let again = (0..12).any(|number| place(&mut host, &format!("new-{number}"))[0] == cut);
    assert!(again, "12 kernels, and none on {cut}");
    assert!(old.iter().all(|kernel| !kernel.ends_within(Duration::ZERO)));
}

#[test]
fn where_no_host_can_be_reached_the_caller_is_told_which_and_what_to_do() {
    let Some(mut site) = Site::start() else { return };
    let mut host = site.husk(&[]);
    let [cut, gone] = two_sessions(&mut host);
    let lost = host.begin_cell("import time; time.sleep(1000)");
    // Nothing is heard of it, not even that it is gone.
    site.cut_off(&cut);
    let lost = host.result(lost);
    assert_eq!(lost.status(), "kernel_died", "{lost:?}");
    site.kill_host(&gone);
    let denied = cell(&mut host, "new", "1");
    assert_eq!(denied.structured()["denied"]["code"], "kernel_start_failed", "{denied:?}");
    let text = denied.text();
    assert!(text.contains("no host can be reached"), "{text}");
    assert!(HOSTS.iter().all(|(_, address)| text.contains(address)), "{text}");
    assert!(text.contains("try again"), "{text}");
    // Else it would wait for the ends of kernels on hosts that are gone.
    host.child.kill().unwrap();
}
