//! Why there is no TLS with Redis, and what to do about it: told of accounts, and of shared limits.

use serde_json::Value;

use super::redis::{ADMIN, Redis};
use crate::support::{husk, python};

/// What `husk doctor` says of both where Redis is at that address, and whom it trusts is in that file.
fn told(url: &str, ca: &str) -> [(bool, String); 2] {
    let folder = tempfile::tempdir().unwrap();
    let mut command = husk();
    command.env("HUSK_DATA_DIR", folder.path()).env("HUSK_PYTHON", python());
    for part in ["TENANT", "SHARED"] {
        command.env(format!("HUSK_{part}_REDIS_URL"), url);
        if !ca.is_empty() {
            command.env(format!("HUSK_{part}_REDIS_CA"), ca);
        }
    }
    let output = command.args(["doctor", "--json"]).current_dir(folder.path()).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!said.to_string().contains(ADMIN), "{said}");
    ["tenants", "shared limits"].map(|name| {
        let checks = said.as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == name).unwrap();
        (check["ok"] == true, check["found"].as_str().unwrap().to_owned())
    })
}

fn refused(url: &str, ca: &str, expected: [&str; 2], settings: [&str; 2]) {
    for ((good, found), setting) in told(url, ca).into_iter().zip(settings) {
        assert!(!good, "{found}");
        for part in expected.into_iter().chain([setting]) {
            assert!(found.contains(part), "{part}: {found}");
        }
    }
}

#[test]
fn a_redis_that_is_not_trusted_or_does_not_trust_husk_is_told_with_the_way_out() {
    let (redis, other) = (Redis::start(), Redis::start_with(&["--tls-auth-clients", "yes"]));
    let path = |redis: &Redis| redis.ca().display().to_string();
    for (good, found) in told(&redis.url(), &path(&redis)) {
        assert!(good, "{found}");
    }
    let issuer = ["is not trusted: nobody whom husk trusts has issued", "as a PEM file"];
    let authorities = ["`tenant.redis_ca`", "`shared.redis_ca`"];
    refused(&redis.url(), "", issuer, authorities);
    refused(&redis.url(), &path(&other), issuer, authorities);
    let name = ["is not trusted: its certificate is another one's", "127.0.0.1"];
    let addresses = ["`tenant.redis_url`", "`shared.redis_url`"];
    refused(&redis.url().replace("localhost", "127.0.0.1"), &path(&redis), name, addresses);
    let wants = ["does not trust husk: it wants a certificate", "`tls-auth-clients no`"];
    refused(&other.url(), &path(&other), wants, ["localhost", "localhost"]);
}
