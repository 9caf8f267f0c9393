//! A Redis of a test's own: in a folder of its own, on a socket in it, gone with the test.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

/// What takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis that keeps nothing: when it is killed, all is forgotten.
pub(crate) struct Redis {
    folder: TempDir,
    child: Mutex<Option<Child>>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let redis = Self { folder: tempfile::tempdir().unwrap(), child: Mutex::default() };
        redis.run();
        redis
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Runs it (again), and waits until it answers.
    pub(crate) fn run(&self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--daemonize", "no", "--save", "", "--unixsocket"]);
        command.arg(self.socket()).arg("--dir").arg(self.folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut own = self.child.lock().unwrap();
        let child = own.insert(child.unwrap());
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "Redis does not listen");
            assert!(child.try_wait().unwrap().is_none(), "Redis has ended");
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let _ = std::fs::remove_file(self.socket());
    }

    /// Stops and goes on: between the two it takes connections and answers nothing.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.lock().unwrap().as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
