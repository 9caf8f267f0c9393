//! Servers side by side that count together, in Redis or in PostgreSQL: what each of them lets through,
//! what is known of keys, and what happens when nobody counts for a while.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use crate::support::{
    host::{Answer, Host},
    husk,
    postgres::Cluster,
    python,
    redis::Redis,
};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of the session `s` with these settings, in a data folder of its own.
fn server(settings: &[(&str, &str)]) -> Host {
    let workspace = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.env("HUSK_PYTHON", python()).env("HUSK_SESSION", "s").env("HUSK_DEDUP_MODE", "off");
    command.envs(settings.iter().copied()).current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host
}

fn send(host: &mut Host, code: &str, key: &str) -> u64 {
    host.send(
        "tools/call",
        json!({
            "name": "notebook_run_cell", "arguments": { "code": code },
            "_meta": { "idempotencyKey": key },
        }),
    )
}

/// The answer to a call with a key, once another server has told the end of the one that had it: that is
/// told in the background.
fn once_told(host: &mut Host, code: &str, key: &str) -> Answer {
    let end = Instant::now() + PATIENCE;
    loop {
        let call = send(host, code, key);
        let answer = host.result(call);
        if denied(&answer) != "key_under_way" {
            return answer;
        }
        assert!(Instant::now() < end, "its end is not told");
    }
}

fn denied(answer: &Answer) -> &str {
    answer.structured()["denied"]["code"].as_str().unwrap_or("nobody")
}

/// Two servers count together by these settings.
fn limits_hold_over(settings: &[(&str, &str)]) {
    let limits = [
        ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "6"),
        ("HUSK_LIMITS_TOKENS_PER_HOUR", "100000"),
        ("HUSK_SHARED_TIMEOUT", "10"),
    ];
    let settings: Vec<_> = settings.iter().chain(&limits).copied().collect();
    let mut servers = [server(&settings), server(&settings)];
    for n in 0..6 {
        assert_eq!(servers[n % 2].ok("'shared'"), "'shared'");
    }
    for host in &mut servers {
        let answer = host.cell("1");
        assert_eq!(denied(&answer), "requests_per_minute", "{answer:?}");
        assert!(answer.structured()["denied"]["retry_after_s"].as_f64().unwrap() <= 10.0);
        assert!(answer.text().contains("all servers count together"), "{answer:?}");
        let usage = host.tool("usage", json!({}));
        let told = usage.structured();
        assert_eq!(told["counted_by"], "all_servers", "{usage:?}");
        assert_eq!((&told["minute"]["left"], &told["hour"]["calls"]), (&json!(0), &json!(6)));
    }
}

#[test]
fn limits_hold_over_all_servers_of_a_redis() {
    let redis = Redis::start();
    limits_hold_over(&[("HUSK_SHARED_REDIS_URL", &redis.url())]);
}

#[test]
fn limits_hold_over_all_servers_of_a_database() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    limits_hold_over(&[("HUSK_STORE_URL", &url), ("HUSK_SHARED_STORE", "true")]);
}

#[test]
fn calls_at_once_are_counted_over_all_servers() {
    let redis = Redis::start();
    let url = redis.url();
    let settings = [
        ("HUSK_SHARED_REDIS_URL", url.as_str()),
        ("HUSK_LIMITS_CONCURRENT_TOTAL", "1"),
        ("HUSK_SHARED_TIMEOUT", "10"),
    ];
    let mut servers = [server(&settings), server(&settings)];
    let call = servers[0].begin_cell("import time; time.sleep(600)");
    let answer = servers[1].cell("1");
    assert_eq!(denied(&answer), "concurrent_calls", "{answer:?}");
    servers[0].tool("notebook_interrupt", json!({}));
    servers[0].result(call);
    // Its end is told in the background.
    let end = Instant::now() + PATIENCE;
    while denied(&servers[1].cell("1")) == "concurrent_calls" {
        assert!(Instant::now() < end, "its place is not given back");
    }
}

/// How calls ended, by word, of one that runs until it is told to stop.
fn loads(settings: Vec<(&'static str, String)>, stop: &Arc<AtomicBool>) -> Load {
    let stop = Arc::clone(stop);
    let (first, begun) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut host = server(&settings);
        let mut ended = BTreeMap::<String, u32>::new();
        while !stop.load(Ordering::Relaxed) {
            let answer = host.cell("1");
            let word = match answer.status() {
                "none" => denied(&answer),
                status => status,
            };
            let _ = first.send(word.to_owned());
            *ended.entry(word.to_owned()).or_default() += 1;
        }
        (host, ended)
    });
    Load { begun, thread }
}

struct Load {
    begun: std::sync::mpsc::Receiver<String>,
    thread: std::thread::JoinHandle<(Host, BTreeMap<String, u32>)>,
}

impl Load {
    /// Waits until a call ends so.
    fn waits_for(&self, word: &str) {
        let end = Instant::now() + PATIENCE;
        while self.begun.recv_timeout(end.saturating_duration_since(Instant::now())).unwrap()
            != word
        {}
    }
}

#[test]
fn redis_is_killed_under_load_and_each_limit_holds_as_the_settings_say() {
    let redis = Redis::start();
    let stop = Arc::new(AtomicBool::new(false));
    let limit = "HUSK_LIMITS_REQUESTS_PER_MINUTE";
    let policy = "HUSK_SHARED_ON_FAILURE_REQUESTS_PER_MINUTE";
    let url = || ("HUSK_SHARED_REDIS_URL", redis.url());
    let loads = [
        loads(vec![url(), (limit, "1000000".into()), (policy, "local".into())], &stop),
        loads(vec![url(), (limit, "1000000".into()), (policy, "closed".into())], &stop),
    ];
    loads.iter().for_each(|load| load.waits_for("ok"));
    redis.kill();
    loads[1].waits_for("limit_unchecked");
    loads[0].waits_for("ok");
    redis.run();
    loads[1].waits_for("ok");
    stop.store(true, Ordering::Relaxed);
    let [local, closed] = loads.map(|load| load.thread.join().unwrap());
    // Nothing else has happened to any call: none failed, and none was lost.
    let (mut host, ended) = local;
    assert_eq!(ended.keys().collect::<Vec<_>>(), ["ok"], "{ended:?}");
    let words: Vec<_> = closed.1.keys().collect();
    assert_eq!(words, ["limit_unchecked", "ok"], "{:?}", closed.1);
    // The one that went on by itself counts with all again.
    let end = Instant::now() + PATIENCE;
    while host.tool("usage", json!({})).structured()["counted_by"] != "all_servers" {
        assert!(Instant::now() < end, "it does not find Redis again");
    }
}

#[test]
fn without_a_redis_that_answers_a_limit_holds_on_each_server_or_not_at_all() {
    let redis = Redis::start();
    redis.kill();
    let url = redis.url();
    let check = |policy: &str, let_through: usize| {
        let mut host = server(&[
            ("HUSK_SHARED_REDIS_URL", url.as_str()),
            ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "3"),
            ("HUSK_SHARED_ON_FAILURE_REQUESTS_PER_MINUTE", policy),
        ]);
        let ended: Vec<_> = (0..6).map(|_| host.cell("1").status().to_owned()).collect();
        let passed = ended.iter().filter(|status| *status == "ok").count();
        assert_eq!(passed, let_through, "{policy}: {ended:?}");
        let usage = host.tool("usage", json!({}));
        assert_eq!(usage.structured()["counted_by"], "this_server");
    };
    check("local", 3);
    check("open", 6);
    // One that takes connections and answers nothing is no better.
    redis.run();
    redis.signal("-STOP");
    check("local", 3);
    redis.signal("-CONT");
}

#[test]
fn a_call_with_a_key_runs_on_one_of_the_servers() {
    let redis = Redis::start();
    let url = redis.url();
    let settings = [("HUSK_SHARED_REDIS_URL", url.as_str()), ("HUSK_SHARED_TIMEOUT", "10")];
    let (mut one, mut two) = (server(&settings), server(&settings));
    one.ok("n = 41");
    two.ok("n = 0");
    let call = send(&mut one, "n += 1; n", "k1");
    assert!(one.result(call).text().starts_with("42"));
    let answer = once_told(&mut two, "n += 1; n", "k1");
    assert!(answer.text().starts_with("42"), "{answer:?}");
    assert_eq!(answer.structured()["deduplicated"], true);
    let call = send(&mut two, "n += 100", "k1");
    assert_eq!(denied(&two.result(call)), "idempotency_key_reused");
    assert_eq!(two.ok("n"), "0");

    // One that goes on elsewhere, and whose server is then killed.
    let call = one.send(
        "tools/call",
        json!({
            "name": "notebook_run_cell", "arguments": { "code": "import time; time.sleep(600)", "wait": 0 },
            "_meta": { "idempotencyKey": "k2" },
        }),
    );
    one.result(call);
    for kill in [true, false] {
        let call = send(&mut two, "import time; time.sleep(600)", "k2");
        let answer = two.result(call);
        assert_eq!(denied(&answer), "key_under_way", "{answer:?}");
        assert!(answer.text().contains("process "), "{answer:?}");
        if kill {
            one.child.kill().unwrap();
            one.child.wait().unwrap();
        }
    }
}

#[test]
fn a_call_with_a_key_that_never_began_can_be_sent_to_another_server() {
    let redis = Redis::start();
    let url = redis.url();
    let settings = [
        ("HUSK_SHARED_REDIS_URL", url.as_str()),
        ("HUSK_SHARED_TIMEOUT", "10"),
        ("HUSK_CELLS_MAX_QUEUED", "0"),
    ];
    let (mut one, mut two) = (server(&settings), server(&settings));
    let runs = one.begin_cell("import time; time.sleep(600)");
    let call = send(&mut one, "6 * 7", "k");
    assert_eq!(denied(&one.result(call)), "queue_full");
    let answer = once_told(&mut two, "6 * 7", "k");
    assert!(answer.text().starts_with("42"), "{answer:?}");
    assert_eq!(answer.structured()["deduplicated"], serde_json::Value::Null);
    one.tool("notebook_interrupt", json!({}));
    one.result(runs);
}

#[test]
fn what_cannot_count_for_all_is_told_before_anything_starts() {
    let check = |settings: &[(&str, &str)], expected: &str| {
        let mut command = husk();
        let data = tempfile::tempdir().unwrap();
        command.env("HUSK_DATA_DIR", data.path()).envs(settings.iter().copied());
        let output = command.arg("serve").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    };
    check(&[("HUSK_SHARED_STORE", "true")], "`shared.store` needs `store.url`");
    let redis = "redis://u:hunter2@127.0.0.1:1";
    let both = [
        ("HUSK_SHARED_REDIS_URL", redis),
        ("HUSK_SHARED_STORE", "true"),
        ("HUSK_STORE_URL", "postgres://u:hunter2@127.0.0.1:1/x"),
    ];
    check(&both, "both `shared.redis_url` and `shared.store`");
    check(&[("HUSK_SHARED_REDIS_URL", "http://u:hunter2@x")], "shared.redis_url");
    let ca = [("HUSK_SHARED_REDIS_URL", "rediss://x"), ("HUSK_SHARED_REDIS_CA", "/nowhere/ca.pem")];
    check(&ca, "/nowhere/ca.pem");
    check(&[("HUSK_SHARED_TIMEOUT", "0")], "shared.timeout");
}

#[test]
fn doctor_asks_what_servers_share() {
    let redis = Redis::start();
    let Some(cluster) = Cluster::shared() else { return };
    let (redis_url, url) = (redis.url(), cluster.database());
    let look = |settings: &[(&str, &str)]| {
        let mut command = husk();
        let data = tempfile::tempdir().unwrap();
        command.env("HUSK_DATA_DIR", data.path()).env("HUSK_PYTHON", python());
        command.envs(settings.iter().copied()).current_dir(data.path());
        let output = command.args(["doctor", "--json"]).output().unwrap();
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (told, output.status.success())
    };
    let line = |told: &serde_json::Value, name: &str| {
        let all = told.as_array().or_else(|| told["checks"].as_array()).unwrap();
        let found = all.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {told}")).clone()
    };
    let all = [
        ("HUSK_STORE_URL", url.as_str()),
        ("HUSK_SHARED_REDIS_URL", redis_url.as_str()),
        ("HUSK_TENANT_REDIS_URL", redis_url.as_str()),
    ];
    let (told, good) = look(&all);
    assert!(good, "{told}");
    for name in ["store", "shared limits", "tenants"] {
        assert_eq!(line(&told, name)["ok"], true, "{told}");
    }
    let (told, _) = look(&[("HUSK_STORE_URL", &url), ("HUSK_SHARED_STORE", "true")]);
    assert_eq!(line(&told, "shared limits")["found"], "the store counts for all servers");
    redis.kill();
    let (told, good) = look(&all);
    assert!(!good);
    for name in ["shared limits", "tenants"] {
        let check = line(&told, name);
        assert!(check["ok"] == false && check["found"].as_str().unwrap().contains("redis.sock"));
    }
    assert!(!told.to_string().contains("hunter2"), "{told}");
}
