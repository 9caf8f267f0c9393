//! A Redis of this test's own, with TLS by an authority that nobody else trusts.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use husk::{
    base::address::Address,
    tenant::{Settings, admin::Admin},
};
use tempfile::TempDir;

use crate::support::{certificates, free_port, python, repository};

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// The password of the account that may make others.
pub(crate) const ADMIN: &str = "planted-admin-password";

/// A running Redis.
pub(crate) struct Redis {
    child: Option<Child>,
    pub(crate) port: u16,
    pub(crate) folder: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With these arguments more.
    pub(crate) fn start_with(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let accounts = format!("user default off\nuser admin on >{ADMIN} ~* &* +@all\n");
        std::fs::write(folder.path().join("users.acl"), accounts).unwrap();
        let port = free_port();
        let mut redis = Self { child: None, port, folder };
        redis.run(args);
        redis
    }

    /// Runs it, and waits until it answers.
    pub(crate) fn run(&mut self, args: &[&str]) {
        let folder = self.folder.path().to_owned();
        let path = |name: &str| folder.join(name).display().to_string();
        let port = self.port.to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--bind", "127.0.0.1", "--tls-port", &port]);
        command.args([
            "--tls-cert-file",
            &cert,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &path("ca.pem"),
        ]);
        command.args(["--tls-auth-clients", "no", "--save", "", "--aclfile", &path("users.acl")]);
        command.args(["--dir", &folder.display().to_string()]);
        command
            .args([
                "--unixsocket",
                &path("admin.sock"),
                "--daemonize",
                "no",
                "--enable-debug-command",
                "yes",
            ])
            .args(args);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = self.child.insert(child.unwrap());
        let end = tokio::time::Instant::now() + PATIENCE;
        while std::os::unix::net::UnixStream::connect(path("admin.sock")).is_err() {
            assert!(tokio::time::Instant::now() < end, "Redis does not listen");
            assert!(child.try_wait().unwrap().is_none(), "Redis has ended");
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("rediss://admin:{ADMIN}@localhost:{}", self.port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            redis_url: Some(Address::new(self.url())),
            redis_ca: Some(self.ca()),
            ..Settings::default()
        }
    }

    pub(crate) fn admin(&self) -> Admin {
        Admin::new(&self.settings()).unwrap().unwrap()
    }

    /// What redis-py says of this, as `tests/clients/redis_client.py` has it.
    pub(crate) fn ask(
        &self,
        deed: &str,
        account: (&str, &str),
        more: &[&str],
    ) -> serde_json::Value {
        ask(&self.ca(), self.port, deed, account, more)
    }

    /// The same as the account that may do all.
    pub(crate) fn as_admin(&self, deed: &str, more: &[&str]) -> serde_json::Value {
        self.ask(deed, ("admin", ADMIN), more)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn ask(
    ca: &Path,
    port: u16,
    deed: &str,
    (name, password): (&str, &str),
    more: &[&str],
) -> serde_json::Value {
    let output = Command::new(python())
        .arg(repository().join("tests/clients/redis_client.py"))
        .arg(ca)
        .arg(port.to_string())
        .args([deed, name, password])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{deed}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
