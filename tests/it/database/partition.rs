//! A database in a network of its own, behind a cable that is pulled: what the operating system itself
//! makes of it, where a [`super::Wire`] is a stand-in.
//!
//! Takes root: elsewhere it says so and is skipped.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::{Machines, cell, denied};
use crate::support::{
    host::Host,
    postgres::{Cluster, PASSWORD, PORT},
};

/// A network with one machine in it, and the cable that leads there. Both are gone with the process that
/// holds the network.
struct Network {
    /// Ends when its standard input does, however this process ends.
    holder: Child,
    cable: String,
    /// The first three numbers of the addresses at the ends of the cable.
    net: String,
}

/// An end of the cable.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The database's: what is sent is swallowed, and nothing is said.
    Far,
    /// husk's: the system knows that no way leads there.
    Near,
}

impl Network {
    /// Nothing where there can be none, which is said.
    #[expect(
        clippy::print_stderr,
        reason = "who reads of a test that passed shall know that it was skipped"
    )]
    fn new() -> Option<Self> {
        let can = Command::new("unshare").args(["--net", "ip", "link"]).output();
        if !can.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: a network namespace takes root, `unshare` and `ip` (iproute2)");
            return None;
        }
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "echo made; exec cat >/dev/null"]);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "made\n");
        let number = std::process::id();
        // Of the addresses for tests of networks (RFC 2544).
        let net = format!("198.18.{}", number % 256);
        let network = Self { holder, cable: format!("husk{number}"), net };
        network.lay();
        Some(network)
    }

    fn lay(&self) {
        let (cable, net, pid) = (&self.cable, &self.net, self.holder.id());
        run("ip", &format!("link add {cable} type veth peer name far netns {pid}"));
        run("ip", &format!("address add {net}.1/24 dev {cable}"));
        self.inside(&format!("ip address add {net}.2/24 dev far"));
        self.carries(End::Far, true);
        self.carries(End::Near, true);
    }

    /// The words with which a command begins that is to run there.
    fn entry(&self) -> [String; 4] {
        ["nsenter", "--target", &self.holder.id().to_string(), "--net"].map(str::to_owned)
    }

    fn inside(&self, words: &str) {
        let [program, target, pid, net] = self.entry();
        run(&program, &format!("{target} {pid} {net} {words}"));
    }

    /// Whether that end of the cable is plugged in.
    fn carries(&self, end: End, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        match end {
            End::Far => self.inside(&format!("ip link set far {state}")),
            End::Near => run("ip", &format!("link set {} {state}", self.cable)),
        }
    }

    /// The address of a database in it.
    fn leading_to(&self, url: &str) -> String {
        let (before, _) = url.split_once('?').unwrap();
        before.replace("@localhost/", &format!("@{}.2:{PORT}/", self.net))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        self.holder.wait().unwrap();
    }
}

fn run(program: &str, words: &str) {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {output:?}");
}

/// A database server in that network, which the machine at its other end may use.
fn database_in(network: &Network) -> Option<Cluster> {
    Cluster::start_at(PORT, &network.entry().each_ref().map(String::as_str), |folder| {
        let rules = folder.join("rules");
        std::fs::write(&rules, "local all all scram-sha-256\nhost all all all scram-sha-256\n")
            .unwrap();
        format!("-c fsync=off -c listen_addresses=* -c hba_file={}", rules.display())
    })
}

#[test]
fn a_cable_that_is_pulled_costs_no_session_and_no_count_and_is_plugged_in_again() {
    let Some(network) = Network::new() else { return };
    let Some(cluster) = database_in(&network) else { return };
    let machines = Machines::new(network.leading_to(&cluster.database()));
    let mut host = machines.start("one");
    assert_eq!(cell(&mut host, "x = 0; import os").status(), "ok");
    let mut ran = 1;
    for (number, end) in [End::Far, End::Near].into_iter().enumerate() {
        pulled(&network, end, &mut host, &machines, number);
        // Two in one session, and one in the other.
        ran += 3;
    }

    // The next server has the session with all that it was, and all calls are counted.
    drop(host);
    let mut next = machines.start("one");
    let answer = cell(&mut next, "x");
    assert!(answer.text().starts_with('4'), "{answer:?}");
    assert_eq!(answer.structured()["generation"], 1, "{answer:?}");
    // That is loaded in the background. What was written and not acknowledged may be written twice.
    let mut asked = std::iter::repeat_with(|| counted(&mut next)).take(1000);
    assert!(asked.any(|counted| counted > ran), "{ran} cells ran before");
    drop(asked);
    for session in ["shared", "other0", "other1"] {
        let stop = machines.command("one").args(["sessions", "stop", session]).output().unwrap();
        assert!(stop.status.success(), "{session}: {stop:?}");
    }
}

/// Pulls that end of the cable while calls are under way, and plugs it in again.
fn pulled(network: &Network, end: End, host: &mut Host, machines: &Machines, number: usize) {
    let [begun, go] =
        ["begun", "go"].map(|name| machines.at("work").join(format!("{name}{number}")));
    for path in [&begun, &go] {
        run("mkfifo", path.to_str().unwrap());
    }
    let code = format!("open({begun:?}, 'w').close(); open({go:?}).read(); x += 1; x");
    let running = host.begin("notebook_run_cell", json!({ "code": code, "session": "shared" }));
    // Opening it waits for the cell.
    drop(std::fs::File::open(&begun).unwrap());
    network.carries(end, false);

    // The one that runs goes on, and so does its session.
    drop(std::fs::File::options().write(true).open(&go).unwrap());
    let (before, after) = (2 * number + 1, 2 * number + 2);
    assert_eq!(host.result(running).text().trim(), before.to_string(), "{end:?}");
    assert_eq!(cell(host, "x += 1; x").text().trim(), after.to_string(), "{end:?}");

    // A session that has to be claimed is refused, and its code has not run. That takes long enough, twice,
    // for what was used to be written in vain meanwhile.
    let other = json!({ "code": "1", "session": format!("other{number}") });
    for _ in 0..2 {
        let refused = host.tool("notebook_run_cell", other.clone());
        assert_eq!(denied(&refused), "store_unusable", "{end:?}: {refused:?}");
        let text = refused.text();
        let told = ["has not answered within 3 s", "cannot be reached"];
        assert!(told.iter().any(|part| text.contains(part)), "{end:?}: {text}");
        assert!(!text.contains(PASSWORD), "{text}");
    }

    network.carries(end, true);
    let mut tries =
        std::iter::repeat_with(|| host.tool("notebook_run_cell", other.clone())).take(60);
    assert!(tries.any(|answer| answer.status() == "ok"), "{end:?}: it mends itself");
}

/// How many cells have run, as `usage` knows it.
fn counted(host: &mut Host) -> u64 {
    let usage = host.tool("usage", json!({}));
    let tools = usage.structured()["by_tool"].as_array().unwrap();
    let of = |tool: &&Value| tool["tool"] == "notebook_run_cell";
    tools.iter().find(of).unwrap()["calls"].as_u64().unwrap()
}
