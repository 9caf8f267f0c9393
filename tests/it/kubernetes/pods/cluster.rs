//! A cluster of the manifests, as far as it has to do with kernels.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use serde_json::json;
use tempfile::TempDir;

use super::super::{databases::Redis, listens, object, stage::Stage};
use crate::support::{free_port, kubernetes, repository, web::PATIENCE, without_settings};

/// As the account of a pod finds the API server. Each Python of the gateway reads it.
const ACCOUNT: &str = "
import os
import kubernetes.config.incluster_config as account
account.SERVICE_TOKEN_FILENAME = os.path.join(os.path.dirname(__file__), 'token')
account.SERVICE_CERT_FILENAME = os.path.join(os.path.dirname(__file__), 'ca.crt')
";

/// A cluster of the manifests, as far as it has to do with kernels.
pub(super) struct Cluster {
    pub(super) stage: Stage,
    /// The gateway's environment.
    environment: PathBuf,
    folder: TempDir,
    api: Child,
    api_port: String,
    /// What the API server says.
    said: Receiver<String>,
    gateway: Option<Child>,
    port: u16,
    _redis: Redis,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_the_gateway();
        // It reads its standard input until that ends, and ends its pods.
        drop(self.api.stdin.take());
        let _ = self.api.wait();
    }
}

/// The gateway's environment; nothing where there can be none, which is said.
#[expect(
    clippy::print_stderr,
    reason = "who reads of a test that passed shall know that it was skipped"
)]
fn environment() -> Option<PathBuf> {
    let told = std::env::var_os("HUSK_TEST_ENTERPRISE").map(PathBuf::from);
    let environment = told.unwrap_or_else(|| repository().join("target/test-enterprise"));
    if environment == Path::new("none") {
        eprintln!("skipped: Enterprise Gateway is not here, and tests/run may not get it");
        return None;
    }
    assert!(environment.exists(), "Enterprise Gateway is not here: run tests/run --setup");
    Some(environment)
}

impl Cluster {
    /// With a gateway that listens; nothing where it cannot be, which is said.
    pub(super) fn start() -> Option<Self> {
        let environment = environment()?;
        let mut stage = Stage::new("kernels-in-pods");
        let (api, said) = api_server(&stage, &environment);
        let api_port = said.recv_timeout(PATIENCE).unwrap();
        let api_port = api_port.strip_prefix("listens ").unwrap().to_owned();
        let port = free_port();
        stage.places.push(("enterprise-gateway:8888", format!("localhost:{port}")));
        let redis = Redis::start(&stage.objects, &stage.secrets());
        stage.places.push(("@redis:6379", format!("@localhost:{}", redis.port)));
        let folder = tempfile::tempdir().unwrap();
        let gateway = None;
        let _redis = redis;
        let mut cluster =
            Self { stage, environment, folder, api, api_port, said, gateway, port, _redis };
        cluster.lay_out();
        cluster.start_the_gateway();
        Some(cluster)
    }

    /// The next thing that it says of that kind; what is said before it is no such thing.
    pub(super) fn says(&self, kind: &str) -> String {
        let line = self.said.recv_timeout(PATIENCE).unwrap();
        line.strip_prefix(kind).unwrap_or_else(|| panic!("{line}")).to_owned()
    }

    /// Ends the gateway in its order, and then the API server; what that has said since it was last asked.
    pub(super) fn ends(mut self) -> Vec<String> {
        let mut gateway = self.gateway.take().unwrap();
        let pid = rustix::process::Pid::from_child(&gateway);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        gateway.wait().unwrap();
        drop(self.api.stdin.take());
        self.said.iter().collect()
    }

    /// The files that the gateway's pod has mounted.
    fn lay_out(&self) {
        let files = &object(&self.stage.objects, "ConfigMap", "kernelspec")["data"];
        let kernel = self.folder.path().join("kernels/python_kubernetes");
        fs::create_dir_all(kernel.join("scripts")).unwrap();
        let spec = files["kernel.json"].as_str().unwrap();
        let place = "/usr/local/share/jupyter/kernels";
        let here = self.folder.path().join("kernels").display().to_string();
        fs::write(kernel.join("kernel.json"), spec.replace(place, &here)).unwrap();
        let template = files["kernel-pod.yaml.j2"].as_str().unwrap();
        fs::write(kernel.join("scripts/kernel-pod.yaml.j2"), template).unwrap();
        let launcher = kubernetes().join("bin/launch_kubernetes.py");
        fs::copy(launcher, kernel.join("scripts/launch_kubernetes.py")).unwrap();
        let account = self.folder.path().join("account");
        fs::create_dir(&account).unwrap();
        fs::write(account.join("sitecustomize.py"), ACCOUNT).unwrap();
        fs::write(account.join("token"), "account-of-the-gateway").unwrap();
        fs::copy(self.stage.secrets().join("ca.crt"), account.join("ca.crt")).unwrap();
        fs::create_dir(self.folder.path().join("sessions")).unwrap();
    }

    /// The variables of the gateway's container, with the places that they name here.
    fn variables(&self, command: &mut Command) {
        let gateway = object(&self.stage.objects, "Deployment", "enterprise-gateway");
        let container = &gateway["spec"]["template"]["spec"]["containers"][0];
        let tls = self.stage.secrets().join("enterprise-gateway.").display().to_string();
        let sessions = self.folder.path().join("sessions").display().to_string();
        for variable in container["env"].as_array().unwrap() {
            let token = || fs::read_to_string(self.stage.secrets().join("gateway-token")).unwrap();
            let value = variable["value"].as_str().map_or_else(token, |value| {
                value
                    .replace("/etc/tls/tls.", &tls)
                    .replace("/var/lib/enterprise-gateway", &sessions)
            });
            command.env(variable["name"].as_str().unwrap(), value);
        }
    }

    /// As the image's own `start-enterprise-gateway.sh` does.
    pub(super) fn start_the_gateway(&mut self) {
        let mut command = Command::new(self.environment.join("bin/jupyter-enterprisegateway"));
        without_settings(&mut command);
        self.variables(&mut command);
        command
            .args(["--KernelSpecManager.whitelist=[\"python_kubernetes\"]"])
            .env("EG_IP", "127.0.0.1")
            .env("EG_PORT", self.port.to_string())
            .env("EG_RESPONSE_IP", "127.0.0.1")
            .env("EG_RESPONSE_PORT", free_port().to_string())
            .env("JUPYTER_PATH", self.folder.path())
            .env("HOME", self.folder.path())
            .env("PYTHONPATH", self.folder.path().join("account"))
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", &self.api_port);
        let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = silent.spawn().unwrap();
        listens(self.port, &mut child);
        self.gateway = Some(child);
    }

    pub(super) fn kill_the_gateway(&mut self) {
        if let Some(mut gateway) = self.gateway.take() {
            let _ = gateway.kill();
            let _ = gateway.wait();
        }
    }
}

/// The API server, and what it says.
fn api_server(stage: &Stage, environment: &Path) -> (Child, Receiver<String>) {
    let secrets = stage.secrets();
    let [crt, key] = ["api.crt", "api.key"].map(|file| secrets.join(file));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "1", "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-CA"])
        .args([&secrets.join("ca.crt"), Path::new("-CAkey"), &secrets.join("ca.key")])
        .args([Path::new("-keyout"), &key, Path::new("-out"), &crt])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let role = object(&stage.objects, "Role", "enterprise-gateway");
    let rules = json!({ "namespace": role["metadata"]["namespace"], "rules": role["rules"] });
    let mut command = Command::new(kubernetes().join("bin/python"));
    command.arg("-B").arg(repository().join("tests/clients/api_server.py"));
    command.args([&crt, &key]).arg(rules.to_string());
    command.arg(environment.join("bin/python")).arg(environment.join("bin/launch_ipykernel.py"));
    without_settings(&mut command);
    let silent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = silent.spawn().unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, said) = channel();
    std::thread::spawn(move || {
        // Who listens no more wants to know no more.
        stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    (child, said)
}
