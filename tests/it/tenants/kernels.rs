//! Kernels that find an account in their environment, and what becomes of it.

use serde_json::{Value, json};

use super::redis::{ADMIN, Redis};
use crate::readme::blocks;
use crate::support::{
    host::Host,
    husk, python,
    web::{PATIENCE, Served},
};

/// Reads and writes as the kernel's account.
const CLIENT: &str = "
import os, redis
r = redis.Redis.from_url(os.environ['REDIS_URL'], decode_responses=True)
p = os.environ['REDIS_PREFIX']
";

fn settings(redis: &Redis) -> [(&'static str, String); 3] {
    [
        ("HUSK_TENANT_REDIS_URL", redis.url()),
        ("HUSK_TENANT_REDIS_CA", redis.ca().display().to_string()),
        ("HUSK_TENANT_DELETE_KEYS", "true".to_owned()),
    ]
}

fn host(redis: &Redis) -> Host {
    let workspace = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.env("HUSK_PYTHON", python()).envs(settings(redis));
    command.current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host
}

/// The accounts that Redis has, but for the administrators'.
fn accounts(redis: &Redis) -> Vec<Value> {
    let Value::Array(users) = redis.as_admin("run", &["ACL", "USERS"]) else { panic!() };
    users.into_iter().filter(|user| user != "admin" && user != "default").collect()
}

#[test]
fn a_kernel_without_a_network_reaches_its_own_and_no_other() {
    let redis = Redis::start();
    let mut host = host(&redis);
    assert_eq!(
        host.ok(&format!("{CLIENT}r.set(p + 'user:x', '1'); print(r.get(p + 'user:x'))")).trim(),
        "1"
    );
    let denied = host.cell("r.get('t:{other}:k')");
    assert!(denied.text().contains("NoPermissionError"), "{}", denied.text());
    let isolated = host.tool("sandbox_status", json!({}));
    assert!(!isolated.text().contains("planted"), "{}", isolated.text());
    // Neither the administrator's address nor the network is the kernel's.
    let found = "import socket\nprint([v for v in os.environ.values() if 'planted' in v])";
    assert_eq!(host.ok(found).trim(), "[]");
    let refused = host.cell(&format!("socket.create_connection(('127.0.0.1', {}), 3)", redis.port));
    assert!(refused.is_error(), "{}", refused.text());
}

#[test]
fn the_readme_shows_how_it_is_used() {
    let redis = Redis::start();
    let mut host = host(&redis);
    let block = blocks().into_iter().find(|block| block.info == "python redis").unwrap();
    assert_eq!(host.ok(&block.text).trim(), "1");
}

#[test]
fn a_reset_is_another_password_and_the_end_takes_the_account_and_its_keys() {
    let redis = Redis::start();
    let mut host = host(&redis);
    let url = host.ok(&format!("{CLIENT}r.set(p + 'k', 'v'); print(os.environ['REDIS_URL'])"));
    let (name, password) = parts(url.trim());
    assert_eq!(redis.ask("login", (&name, &password), &[]), json!(true));
    let reset = host.tool("sandbox_reset", json!({}));
    assert!(!reset.is_error(), "{}", reset.text());
    let again = host.ok(&format!("{CLIENT}print(r.get(p + 'k'), os.environ['REDIS_URL'])"));
    let (value, url) = again.trim().split_once(' ').unwrap();
    // It is the same user's: what was kept is there.
    let (same, other) = parts(url);
    assert_eq!((value, same.as_str()), ("v", name.as_str()));
    assert_ne!(password, other);
    until("the old password is refused", || {
        redis.ask("login", (&name, &password), &[]) == json!(false)
    });
    assert_eq!(redis.ask("login", (&name, &other), &[]), json!(true));
    host.close_stdin();
    assert!(host.child.wait().unwrap().success());
    assert_eq!(accounts(&redis), Vec::<Value>::new());
    assert_eq!(redis.as_admin("run", &["KEYS", "*"]), json!([]));
}

#[test]
fn what_a_killed_server_left_goes_with_the_next_kernel() {
    let redis = Redis::start();
    let mut first = host(&redis);
    let url = first.ok(&format!("{CLIENT}print(os.environ['REDIS_URL'])"));
    let (name, password) = parts(url.trim());
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    assert_eq!(accounts(&redis).len(), 1);
    until("the kernel's folder is gone", || {
        let mut next = host(&redis);
        next.ok("1");
        redis.ask("login", (&name, &password), &[]) == json!(false)
    });
}

#[test]
fn two_users_of_a_server_have_two_accounts() {
    let redis = Redis::start();
    let data = tempfile::tempdir().unwrap();
    let (alice, bob) = (
        Served::token(&data, "alice", &["notebook:run"]),
        Served::token(&data, "bob", &["notebook:run"]),
    );
    let url = format!("tenant.redis_url={}", redis.url());
    let ca = format!("tenant.redis_ca={}", redis.ca().display());
    let served = Served::start_in(data, &["--set", &url, "--set", &ca]);
    let (mut alice, mut bob) = (served.client(Some(&alice)), served.client(Some(&bob)));
    let hers = alice.run("s", &format!("{CLIENT}r.set(p + 'k', 'hers'); print(p)"));
    let his = bob.run("s", &format!("{CLIENT}print(p)"));
    let (hers, his) = (hers.trim(), his.trim());
    assert_ne!(hers, his);
    let stolen = bob.run(
        "s",
        &format!("try: print(r.get('{hers}k'))\nexcept Exception as e: print(type(e).__name__)"),
    );
    assert!(stolen.contains("NoPermissionError"), "{stolen}");
    assert_eq!(accounts(&redis).len(), 2);
}

#[test]
fn accounts_are_made_listed_changed_and_ended_by_hand() {
    let redis = Redis::start();
    let tenant = |args: &[&str]| {
        let output = husk().arg("tenant").args(args).envs(settings(&redis)).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    let provisioned: Value = serde_json::from_str(&tenant(&["provision", "token:alice"])).unwrap();
    let of = |account: &Value| {
        let text = |name: &str| account[name].as_str().unwrap().to_owned();
        (text("username"), text("password"))
    };
    let (name, password) = of(&provisioned);
    assert_eq!(redis.ask("login", (&name, &password), &[]), json!(true));
    let listed = tenant(&["list"]);
    assert!(listed.contains("token:alice") && listed.contains(&name), "{listed}");
    let rotated: Value = serde_json::from_str(&tenant(&["rotate", "token:alice"])).unwrap();
    let (_, other) = of(&rotated);
    assert_eq!(redis.ask("login", (&name, &password), &[]), json!(false));
    assert_eq!(redis.ask("login", (&name, &other), &[]), json!(true));
    assert_eq!(tenant(&["revoke", "token:alice", "--keys"]).trim(), "the account has ended");
    assert_eq!(tenant(&["list"]).trim(), "no user has an account");
}

#[test]
fn the_administrators_password_is_nowhere() {
    let redis = Redis::start();
    let said = |args: &[&str], envs: &[(&str, String)]| {
        let output = husk().args(args).envs(envs.iter().cloned()).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let config = said(&["config"], &settings(&redis));
    assert!(config.contains("rediss://admin@localhost") && !config.contains(ADMIN), "{config}");
    let nowhere = [("HUSK_TENANT_REDIS_URL", format!("redis://admin:{ADMIN}@127.0.0.1:1"))];
    let failed = said(&["--log", "trace", "tenant", "list"], &nowhere);
    assert!(failed.contains("127.0.0.1:1") && !failed.contains(ADMIN), "{failed}");
    let project = tempfile::tempdir().unwrap();
    let file = format!(
        "[tenant]\nredis_url = 'redis://admin:{ADMIN}@h'\nredis_nodes = [1, 'redis://:{ADMIN}@h']\n"
    );
    std::fs::write(project.path().join("husk.toml"), file).unwrap();
    let output = husk().arg("config").current_dir(project.path()).output().unwrap();
    let refused = String::from_utf8(output.stderr).unwrap();
    assert!(refused.contains("tenant.redis_url") && !refused.contains(ADMIN), "{refused}");
    let bad = [("HUSK_TENANT_REDIS_URL", format!("http://admin:{ADMIN}@127.0.0.1:1"))];
    let refused = said(&["config"], &bad);
    assert!(refused.contains("tenant.redis_url") && !refused.contains(ADMIN), "{refused}");
}

/// Name and password of an address.
fn parts(url: &str) -> (String, String) {
    let (name, rest) = url.strip_prefix("unix://").unwrap().split_once(':').unwrap();
    (name.to_owned(), rest.split_once('@').unwrap().0.to_owned())
}

/// Waits until it holds; each look takes as long as a question to Redis.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what}");
    }
}
