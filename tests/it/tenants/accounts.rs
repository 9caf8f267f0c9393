//! What accounts may do, and how they are made, changed and ended.

use futures_util::future::join_all;
use husk::{
    base::address::Address,
    tenant::{
        Settings,
        account::Account,
        admin::{Access, Admin},
        error::TenantError,
    },
};
use serde_json::{Value, json};

use super::redis::{ADMIN, Redis};

fn nobody(_: &str) -> bool {
    false
}

fn of(access: &Access) -> (&str, &str) {
    (&access.name, access.password.reveal())
}

fn admin_of(settings: &Settings) -> Admin {
    Admin::new(settings).unwrap().unwrap()
}

#[tokio::test]
async fn one_user_reaches_nothing_of_another_by_any_way_that_redis_has() {
    let redis = Redis::start();
    let admin = redis.admin();
    let alice = admin.grant("alice", "k", &nobody).await.unwrap();
    let bob = admin.grant("bob", "k", &nobody).await.unwrap();
    for (key, value) in [("k", "theirs"), ("c", "x")] {
        redis.ask("run", of(&bob), &["SET", &format!("{}{key}", bob.prefix), value]);
        redis.ask("run", of(&alice), &["SET", &format!("{}{key}", alice.prefix), value]);
    }
    let said = redis.ask("attack", of(&alice), &[&alice.prefix, &bob.prefix]);
    let Value::Object(said) = said else { panic!("{said}") };
    assert!(said.len() > 90, "{}", said.len());
    let open: Vec<_> = said.iter().filter(|(_, answer)| *answer != "denied").collect();
    assert!(open.is_empty(), "{open:#?}");
    let theirs = redis.ask("run", of(&bob), &["GET", &format!("{}k", bob.prefix)]);
    assert_eq!(theirs, "theirs");
}

#[tokio::test]
async fn names_that_mean_something_to_redis_are_only_names() {
    let redis = Redis::start();
    let admin = redis.admin();
    let long = "x".repeat(10_000);
    let names =
        ["", "1", "1:x", "*", "[a-z]", "a b", "a\nb", "a\tb", "{}", "ünïcode ☃", "default", &long];
    let mut accounts = Vec::new();
    for name in names {
        accounts.push(admin.grant(name, "k", &nobody).await.unwrap());
    }
    let keys: Vec<_> = accounts.iter().map(|access| format!("{}k", access.prefix)).collect();
    for (access, key) in accounts.iter().zip(&keys) {
        redis.ask("run", of(access), &["SET", key, &access.name]);
    }
    // Each reads its own, and of all others nothing.
    let gets: Vec<_> = keys.iter().map(|key| format!("GET {key}")).collect();
    let gets: Vec<_> = gets.iter().map(String::as_str).collect();
    for (number, access) in accounts.iter().enumerate() {
        let Value::Array(said) = redis.ask("try", of(access), &gets) else { panic!() };
        for (other, answer) in said.iter().enumerate() {
            let own = format!("allowed: {}", access.name);
            let expected = if other == number { own.as_str() } else { "denied" };
            assert_eq!(answer, expected, "{} and {other}", access.name);
        }
    }
    let listed: Vec<_> = admin.list().await.unwrap().into_iter().map(|it| it.user).collect();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn of_many_at_once_each_gets_a_password_and_the_account_goes_with_the_last() {
    let redis = Redis::start();
    let settings = Settings { delete_keys: true, ..redis.settings() };
    // Servers do not know of each other.
    let admins: Vec<_> = (0..8).map(|_| admin_of(&settings)).collect();
    let holders: Vec<_> = (0..8).map(|number| format!("kernel {number}")).collect();
    let granted = admins.iter().zip(&holders).map(|(admin, it)| admin.grant("alice", it, &nobody));
    let granted: Vec<_> = join_all(granted).await.into_iter().map(Result::unwrap).collect();
    for access in &granted {
        assert_eq!(redis.ask("login", of(access), &[]), json!(true));
    }
    let key = format!("{}k", granted[0].prefix);
    redis.ask("run", of(&granted[0]), &["SET", &key, "v"]);
    let first = admins.iter().zip(&holders).take(7).map(|(admin, it)| admin.release("alice", it));
    join_all(first).await.into_iter().for_each(Result::unwrap);
    assert_eq!(redis.ask("login", of(&granted[0]), &[]), json!(false));
    assert_eq!(redis.ask("run", of(&granted[7]), &["GET", &key]), "v");
    admins[0].release("alice", &holders[7]).await.unwrap();
    assert_eq!(redis.ask("login", of(&granted[7]), &[]), json!(false));
    assert_eq!(redis.as_admin("run", &["EXISTS", &key]), 0);
    assert_eq!(redis.as_admin("run", &["ACL", "GETUSER", &granted[0].name]), Value::Null);
    assert!(admins[0].list().await.unwrap().is_empty());
    // Once more is the same as once.
    admins[0].release("alice", &holders[7]).await.unwrap();
}

#[tokio::test]
async fn a_password_is_exchanged_and_who_is_gone_has_none() {
    let redis = Redis::start();
    let admin = redis.admin();
    let old = admin.grant("alice", "cli", &nobody).await.unwrap();
    let kernel = admin.grant("alice", "kernel", &nobody).await.unwrap();
    let new = admin.rotate("alice", "cli").await.unwrap();
    let logins = [&old, &kernel, &new].map(|access| redis.ask("login", of(access), &[]));
    assert_eq!(logins, [json!(false), json!(true), json!(true)]);
    admin.grant("alice", "another", &|holder| holder == "kernel").await.unwrap();
    assert_eq!(redis.ask("login", of(&kernel), &[]), json!(false));
    assert_eq!(redis.ask("login", of(&new), &[]), json!(true));
    assert!(admin.revoke("alice", true).await.unwrap());
    assert_eq!(redis.ask("login", of(&new), &[]), json!(false));
    assert!(!admin.revoke("alice", true).await.unwrap());
}

#[tokio::test]
async fn what_fails_leaves_to_others_what_they_have() {
    let redis = Redis::start();
    let admin = redis.admin();
    // Somebody else's account of that name.
    let name = Account::of("mallory").name();
    redis.as_admin("run", &["ACL", "SETUSER", &name, "on", ">theirs", "+ping"]);
    let refused = admin.grant("mallory", "k", &nobody).await.unwrap_err();
    assert!(matches!(refused, TenantError::Foreign(_)), "{refused:?}");
    assert_eq!(redis.ask("login", (&name, "theirs"), &[]), json!(true));
    // A node that does not answer.
    let kept = admin.grant("alice", "kept", &nobody).await.unwrap();
    let nowhere = Address::new("redis://127.0.0.1:1".to_owned());
    let broken = admin_of(&Settings { redis_nodes: vec![nowhere], ..redis.settings() });
    let failed = broken.grant("alice", "new", &nobody).await.unwrap_err();
    let told = format!("{failed} {:?}", failed);
    assert!(told.contains("127.0.0.1:1") && !told.contains(ADMIN), "{told}");
    assert_eq!(redis.ask("login", of(&kept), &[]), json!(true));
    // An administrator who may not.
    redis.as_admin("run", &["ACL", "SETUSER", "weak", "on", ">weak", "~*", "&*", "+@all", "-acl"]);
    let weak = Address::new(format!("rediss://weak:weak@localhost:{}", redis.port));
    let weak = admin_of(&Settings { redis_url: Some(weak), ..redis.settings() });
    let failed = weak.grant("alice", "new", &nobody).await.unwrap_err();
    assert!(matches!(failed, TenantError::Node { .. }), "{failed:?}");
    assert_eq!(redis.ask("login", of(&kept), &[]), json!(true));
}

#[tokio::test]
async fn every_node_gets_the_account_and_the_one_that_takes_writes_is_found() {
    let first = Redis::start();
    let port = first.port.to_string();
    let ca = first.ca().display().to_string();
    let second = Redis::start_with(&[
        "--replicaof",
        "localhost",
        &port,
        "--tls-replication",
        "yes",
        "--tls-ca-cert-file",
        &ca,
        "--masteruser",
        "admin",
        "--masterauth",
        ADMIN,
    ]);
    // One authority for both.
    let both = std::fs::read_to_string(first.ca()).unwrap()
        + &std::fs::read_to_string(second.ca()).unwrap();
    let ca = first.folder.path().join("both.pem");
    std::fs::write(&ca, both).unwrap();
    // Whichever is named first.
    let settings = Settings {
        redis_url: Some(Address::new(second.url())),
        redis_nodes: vec![Address::new(first.url())],
        redis_ca: Some(ca),
        ..Settings::default()
    };
    let admin = admin_of(&settings);
    let access = admin.grant("alice", "k", &nobody).await.unwrap();
    for redis in [&first, &second] {
        assert_eq!(redis.ask("login", of(&access), &[]), json!(true));
        let said = redis.ask("attack", of(&access), &[&access.prefix, "t:{another}:"]);
        assert_eq!(said["GET OTHER:k"], "denied");
    }
    admin.release("alice", "k").await.unwrap();
    for redis in [&first, &second] {
        assert_eq!(redis.ask("login", of(&access), &[]), json!(false));
    }
}

#[tokio::test]
async fn accounts_outlive_redis() {
    let mut redis = Redis::start();
    let admin = redis.admin();
    let access = admin.grant("alice", "k", &nobody).await.unwrap();
    redis.kill();
    assert!(admin.grant("alice", "other", &nobody).await.is_err());
    redis.run(&[]);
    assert_eq!(redis.ask("login", of(&access), &[]), json!(true));
}
