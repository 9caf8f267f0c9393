//! A gateway for kernels, and husk that uses it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    free_port, host::Host, husk, processes::Watched, python, servers, web::PATIENCE,
    without_settings,
};

/// What it takes.
pub(super) const TOKEN: &str = "fe12-token-of-the-tests";

/// Settings of a Jupyter Server that takes its time.
const LATE: &str = r#"
import asyncio, pathlib
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

class Late(AsyncMappingKernelManager):
    async def start_kernel(self, **wishes):
        while not pathlib.Path("go-on").exists():
            await asyncio.sleep(0.01)
        return await super().start_kernel(**wishes)

c.ServerApp.kernel_manager_class = Late
"#;

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    JupyterServer,
    KernelGateway,
}

/// A gateway that runs.
pub(super) struct Gateway {
    kind: Kind,
    pub(super) port: u16,
    options: Vec<String>,
    child: Option<Child>,
    /// What it says on standard error.
    log: Receiver<String>,
    home: TempDir,
}

impl Gateway {
    pub(super) fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// The same with more options.
    pub(super) fn start_with(kind: Kind, options: &[&str]) -> Self {
        let mut gateway = Self::absent(kind, options);
        gateway.begin();
        gateway
    }

    /// One that does not run yet.
    pub(super) fn absent(kind: Kind, options: &[&str]) -> Self {
        let port = free_port();
        let (_, log) = channel();
        let home = tempfile::tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { kind, port, options, child: None, log, home }
    }

    /// Starts it, and waits until it listens.
    pub(super) fn begin(&mut self) {
        let (program, own) = match self.kind {
            Kind::JupyterServer => (
                "jupyter-server",
                vec![
                    "--ServerApp.ip=127.0.0.1".to_owned(),
                    format!("--ServerApp.port={}", self.port),
                    "--ServerApp.port_retries=0".to_owned(),
                    format!("--IdentityProvider.token={TOKEN}"),
                    format!("--ServerApp.root_dir={}", self.home.path().display()),
                    "--no-browser".to_owned(),
                    "--allow-root".to_owned(),
                ],
            ),
            Kind::KernelGateway => (
                "jupyter-kernelgateway",
                vec![
                    "--KernelGatewayApp.ip=127.0.0.1".to_owned(),
                    format!("--KernelGatewayApp.port={}", self.port),
                    "--KernelGatewayApp.port_retries=0".to_owned(),
                    format!("--KernelGatewayApp.auth_token={TOKEN}"),
                    "--JupyterWebsocketPersonality.list_kernels=True".to_owned(),
                ],
            ),
        };
        // An option that a test gives stands in the place of its own.
        let key = |word: &String| word.split('=').next().map(str::to_owned);
        let own =
            own.into_iter().filter(|word| !self.options.iter().any(|it| key(it) == key(word)));
        let mut command = Command::new(servers().join("bin").join(program));
        command.args(own).args(&self.options).current_dir(self.home.path());
        without_settings(&mut command);
        for name in
            ["HOME", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"]
        {
            command.env(name, self.home.path());
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        (self.child, self.log) = (Some(child), log);
        self.says(|line| line.contains("is running at") || line.contains("is available at"));
        // It says so before it listens, which nothing tells but its socket.
        while TcpStream::connect(self.at()).is_err() {
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it says that.
    pub(super) fn says(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut said = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if fits(&line) => return line,
                Ok(line) => said.push(line),
                Err(error) => panic!("{error}; the gateway said {said:#?}"),
            }
        }
    }

    /// From its next start on it takes that token alone.
    pub(super) fn takes(&mut self, token: &str) {
        self.options.push(format!("--IdentityProvider.token={token}"));
    }

    /// Kills it. Its kernels see that, and end.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(super) fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The ids of its kernels.
    pub(super) fn kernels(&self) -> Vec<String> {
        let all: Value = serde_json::from_str(&self.ask("GET /api/kernels")).unwrap();
        let ids = all.as_array().unwrap().iter().map(|kernel| kernel["id"].as_str().unwrap());
        ids.map(str::to_owned).collect()
    }

    /// Asks it, as somebody beside husk.
    pub(super) fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(self.at()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = self.at();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nAuthorization: token {TOKEN}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 2"), "{line}: {head}");
        body.to_owned()
    }

    /// A host whose husk has its kernels there.
    pub(super) fn host(&self) -> Host {
        let mut host = self.launch(None, &[]);
        host.initialize("2025-11-25");
        host
    }

    /// The same without a word said, in that data folder, with these settings.
    pub(super) fn launch(&self, data: Option<&Path>, settings: &[(&str, &str)]) -> Host {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = self.command(settings);
        command.current_dir(workspace.path());
        if let Some(data) = data {
            command.env("HUSK_DATA_DIR", data);
        }
        Host::run(command, workspace)
    }

    /// husk as a command, which has its kernels there, with these settings.
    pub(super) fn command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = husk();
        command
            .env("HUSK_PYTHON", python())
            .envs([
                ("HUSK_GATEWAY_URL", format!("http://{}", self.at()).as_str()),
                ("HUSK_GATEWAY_TOKEN", TOKEN),
                ("HUSK_SANDBOX_ISOLATION", "none"),
                ("HUSK_DEDUP_MODE", "off"),
                ("HUSK_BREAKER_CONSECUTIVE_FAULTS", "0"),
                ("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0"),
                ("HUSK_LIMITS_TOKENS_PER_HOUR", "0"),
            ])
            .envs(settings.iter().copied());
        command
    }

    /// From its next start on it starts kernels, and answers, only once that file is there.
    pub(super) fn starts_kernels_late(&self) -> PathBuf {
        std::fs::write(self.home.path().join("jupyter_server_config.py"), LATE).unwrap();
        self.home.path().join("go-on")
    }

    /// Gives it a kernelspec of that name, which is no kernel's.
    pub(super) fn break_a_kernelspec(&self, name: &str, argv: &[&str]) {
        let folder = self.home.path().join("kernels").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let spec = json!({ "argv": argv, "display_name": "Broken", "language": "none" });
        std::fs::write(folder.join("kernel.json"), spec.to_string()).unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // It ends its kernels; one that cannot is killed, which they see.
        let pid = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let watched = Watched::hold(pid.as_raw_nonzero().get());
        watched.ends_within(Duration::from_secs(10));
        self.kill();
    }
}
