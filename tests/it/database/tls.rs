//! The way to the database over TLS: it is taken where the certificate is the one that the address asks
//! for, and otherwise nothing is said to whoever answers.

use std::{os::unix::fs::PermissionsExt, path::Path};

use super::{Machines, cell, denied};
use crate::support::{
    certificates, free_port,
    postgres::{Cluster, PASSWORD, Wire},
};

/// Nobody is let in over a network without TLS.
const RULES: &str = "local all all scram-sha-256\nhostssl all all all scram-sha-256\n";

/// Who comes over a network shows a certificate of the server's own authority, and then needs no password.
const RULES_OF_CERTIFICATES: &str =
    "local all all scram-sha-256\nhostssl all all all cert map=known\n";
/// Whose certificate is whose.
const KNOWN: &str = "known localhost husk\n";

/// A database server with a certificate for `localhost`, by the authority in its folder.
fn secured(port: u16, authority: &Path, rules: &str) -> Option<Cluster> {
    Cluster::start_at(port, &[], |folder| {
        for file in ["cert.pem", "key.pem", "ca.pem"] {
            std::fs::copy(authority.join(file), folder.join(file)).unwrap();
            let own = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(folder.join(file), own).unwrap();
        }
        std::fs::write(folder.join("rules"), rules).unwrap();
        std::fs::write(folder.join("known"), KNOWN).unwrap();
        let folder = folder.display();
        format!(
            "-c fsync=off -c listen_addresses=127.0.0.1 -c ssl=on -c ssl_cert_file={folder}/cert.pem \
             -c ssl_key_file={folder}/key.pem -c ssl_ca_file={folder}/ca.pem \
             -c hba_file={folder}/rules -c ident_file={folder}/known"
        )
    })
}

/// A database's address at that host, over TCP.
fn at(url: &str, host: &str, query: &str) -> String {
    let (before, _) = url.split_once('?').unwrap();
    format!("{}?{query}", before.replace("@localhost/", &format!("@{host}/")))
}

/// A session is started there.
fn used(url: &str) {
    let machines = Machines::new(url.to_owned());
    let mut host = machines.start("one");
    assert_eq!(cell(&mut host, "6 * 7").text().trim(), "42", "{url}");
    drop(host);
    // Its kernel would wait for the next server.
    let stop = machines.command("one").args(["sessions", "stop", "shared"]).output().unwrap();
    assert!(stop.status.success(), "{stop:?}");
}

/// A session cannot be started there, for that reason.
fn refused(url: &str, expected: &[&str]) {
    let machines = Machines::new(url.to_owned());
    let mut host = machines.start("one");
    let answer = cell(&mut host, "1");
    assert_eq!(denied(&answer), "store_unusable", "{url}: {answer:?}");
    let text = answer.text();
    for part in expected {
        assert!(text.contains(part), "{url}: {part}: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
}

#[test]
fn a_database_is_used_over_tls_and_not_where_its_certificate_is_not_the_one() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(ours.path());
    certificates(others.path());
    let port = free_port();
    let Some(cluster) = secured(port, ours.path(), RULES) else { return };
    let url = cluster.database();
    let ca = |folder: &Path| format!("sslrootcert={}", folder.join("ca.pem").display());
    let (ours, others) = (ca(ours.path()), ca(others.path()));
    let (right, wrong) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));

    let strict = format!("sslmode=verify-full&{ours}");
    for (host, query) in [(&right, &strict), (&wrong, &format!("sslmode=verify-ca&{ours}"))] {
        used(&at(&url, host, query));
    }

    let issuer =
        ["is not trusted: nobody whom husk trusts has issued", "`sslrootcert`", "postgres://"];
    refused(&at(&url, &right, "sslmode=verify-full"), &issuer);
    refused(&at(&url, &right, &format!("sslmode=verify-full&{others}")), &issuer);
    refused(&at(&url, &right, &format!("sslmode=verify-ca&{others}")), &issuer);
    let name = ["is not trusted: its certificate is another one's", "`store.url`", "127.0.0.1"];
    refused(&at(&url, &wrong, &strict), &name);
    let missing = "sslmode=verify-full&sslrootcert=/nowhere/ca.pem";
    refused(&at(&url, &right, missing), &["cannot read `/nowhere/ca.pem`", "`sslrootcert`"]);
    refused(&at(&url, &right, "sslmode=disable"), &["does not let husk in", "no encryption"]);
}

#[test]
fn a_database_that_wants_a_certificate_is_shown_the_one_that_the_address_names() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(ours.path());
    certificates(others.path());
    let port = free_port();
    let Some(cluster) = secured(port, ours.path(), RULES_OF_CERTIFICATES) else { return };
    let url = cluster.database().replace(&format!(":{PASSWORD}@"), "@");
    let file = |folder: &Path, name: &str| folder.join(name).display().to_string();
    let ca = file(ours.path(), "ca.pem");
    let with = |certificate: &str, key: &str| {
        let query =
            format!("sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}");
        at(&url, &format!("localhost:{port}"), &query)
    };
    let (certificate, key) = (file(ours.path(), "cert.pem"), file(ours.path(), "key.pem"));
    used(&with(&certificate, &key));

    let none = format!("sslmode=verify-full&sslrootcert={ca}");
    let wanted = ["valid client certificate", "`sslcert`", "`sslkey`"];
    refused(&at(&url, &format!("localhost:{port}"), &none), &wanted);
    let stranger = with(&file(others.path(), "cert.pem"), &file(others.path(), "key.pem"));
    refused(&stranger, &["does not trust husk", "received fatal alert", "`sslcert`"]);
    let torn = with(&certificate, &file(others.path(), "key.pem"));
    refused(&torn, &["TLS to PostgreSQL", "cannot be set up", "`sslkey`", "KeyMismatch"]);
    refused(
        &with(&certificate, "/nowhere/key.pem"),
        &["cannot read `/nowhere/key.pem`", "`sslkey`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tls_is_not_used_where_tls_is_asked_for() {
    let Some(cluster) = Cluster::shared() else { return };
    let wire = Wire::to(cluster).await;
    let plain = wire.leading_to(&cluster.database());
    tokio::task::spawn_blocking(move || {
        for mode in ["require", "verify-full"] {
            let url = format!("{plain}?sslmode={mode}");
            refused(&url, &["is not trusted: it does not speak TLS", "`store.url`"]);
        }
    })
    .await
    .unwrap();
}
