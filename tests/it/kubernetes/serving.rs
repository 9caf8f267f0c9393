//! husk as the manifests start it: the arguments, settings and secrets are theirs, only the places are other ones.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::json;

use super::{
    container,
    databases::{Postgres, Redis},
    listens,
    stage::Stage,
};
use crate::support::{
    free_port, servers,
    web::{Client, Served, send},
    without_settings,
};

/// What the probes ask is answered as they want it.
fn probed(stage: &Stage, served: &Served) {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let ask = &container(&stage.objects)[probe]["httpGet"];
        let line = format!("GET {}", ask["path"].as_str().unwrap());
        assert_eq!(send(&served.at, &line, &["Host: 10.0.0.7:8931"], b"").status, 200, "{line}");
        assert_eq!(ask["port"], "http");
    }
}

/// The limits hold over all replicas.
fn counted_for_all(client: &mut Client) {
    let usage = client.call("usage", json!({}));
    assert_eq!(usage["structuredContent"]["counted_by"], "all_servers", "{usage}");
}

/// A Jupyter Server that takes that token, over TLS. What the manifests have is an Enterprise Gateway.
struct Gateway(Child, u16);

impl Gateway {
    fn start(secrets: &Path, home: &Path) -> Self {
        let port = free_port();
        let token = fs::read_to_string(secrets.join("gateway-token")).unwrap();
        let mut command = Command::new(servers().join("bin/jupyter-server"));
        command.args(["--no-browser", "--allow-root", "--ServerApp.port_retries=0"]);
        command.arg(format!("--ServerApp.port={port}"));
        command.arg(format!("--IdentityProvider.token={token}"));
        command.arg(format!("--ServerApp.root_dir={}", home.display()));
        for (option, file) in [("certfile", "crt"), ("keyfile", "key")] {
            let file = secrets.join(format!("enterprise-gateway.{file}"));
            command.arg(format!("--ServerApp.{option}={}", file.display()));
        }
        without_settings(&mut command);
        for name in ["HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"] {
            command.env(name, home);
        }
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = silent.spawn().unwrap();
        listens(port, &mut child);
        Self(child, port)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Its kernels see that, and end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn husk_serves_with_the_settings_for_kernels_in_pods() {
    let mut stage = Stage::new("kernels-in-pods");
    let home = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&stage.secrets(), home.path());
    stage.places.push(("enterprise-gateway:8888", format!("localhost:{}", gateway.1)));
    stage.places.push(("python_kubernetes", "python3".to_owned()));
    let redis = Redis::start(&stage.objects, &stage.secrets());
    stage.places.push(("@redis:6379", format!("@localhost:{}", redis.port)));
    let served = stage.replica(0);
    probed(&stage, &served);
    // Nobody is let in before there is a token, and who has one at once.
    assert_eq!(send(&served.at, "POST /mcp", &[], b"{}").status, 401);
    let token = stage.token("alice");
    let mut alice = served.client(Some(&token));
    assert_eq!(alice.run("s", "1 + 1").trim(), "2");
    counted_for_all(&mut alice);
    let status = alice.call("sandbox_status", json!({}));
    assert_eq!(
        status["structuredContent"]["sessions"][0]["sandbox"]["effective"], "gateway",
        "{status}"
    );
}

#[test]
fn replicas_share_the_databases_of_the_manifests() {
    let mut stage = Stage::new("kernels-in-husk");
    let Some(postgres) = Postgres::start(&stage.objects, &stage.secrets()) else { return };
    let redis = Redis::start(&stage.objects, &stage.secrets());
    stage.places.push(("@postgres/", format!("@localhost:{}/", postgres.port)));
    stage.places.push(("@redis:6379", format!("@localhost:{}", redis.port)));
    let token = stage.token("alice");
    let start = |number| {
        let mut command = stage.command(number);
        // What there is in a pod without privileges.
        command.env("HUSK_SANDBOX_ISOLATION", "landlock");
        Served::of(command, tempfile::tempdir().unwrap())
    };
    let (mut one, two) = (start(0), start(1));
    probed(&stage, &one);
    let (mut here, mut there) = (one.client(Some(&token)), two.client(Some(&token)));
    let cell = "import os, redis; r = redis.Redis.from_url(os.environ['REDIS_URL'])\n\
        k = os.environ['REDIS_PREFIX'] + 'k'; r.set(k, 'kept'); r.get(k)";
    assert_eq!(here.run("s", cell).trim(), "b'kept'");
    counted_for_all(&mut here);
    let asked = there.call("notebook_run_cell", json!({ "code": "k", "session": "s" }));
    let denied = &asked["structuredContent"]["denied"];
    assert_eq!(denied["code"], "elsewhere", "{asked}");
    assert!(
        denied["reason"].as_str().unwrap().contains("https://husk-0.husk.example.com/mcp"),
        "{asked}"
    );
    one.terminate();
    assert!(there.run("s", "'k' in globals()").starts_with("False"));
    assert!(there.run("s", &format!("{cell}; sorted(os.listdir())")).contains(".husk"));
}
