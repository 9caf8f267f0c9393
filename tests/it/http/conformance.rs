//! The conformance suite of MCP, released and newest: every scenario against the suite's own fixtures on
//! husk's stack (`examples/conformance_server`), and against `husk serve` itself those that need none.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc::channel,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    clients::{installed, node},
    support::{python, repository, web::Served, without_settings},
};

/// The longest that one run of a suite may take: far more than the fifteen seconds that it takes.
const LONGEST: Duration = Duration::from_secs(300);

/// A suite: how `tests/conformance.toml` calls it, and its package.
type Suite = (&'static str, &'static str);

const RELEASED: Suite = ("released", "conformance-released");
const NEWEST: Suite = ("newest", "@modelcontextprotocol/conformance");

/// What a suite tells of its way, among its checks.
const STEPS: [&str; 4] =
    ["outgoing-request", "incoming-response", "incoming-sse-event", "stream-closed"];

/// What both versions of the suite ask without fixtures.
const BARE: [&str; 5] = [
    "server-initialize",
    "ping",
    "tools-list",
    "dns-rebinding-protection",
    "server-sse-multiple-streams",
];
/// What the newest asks beside.
const BARE_NEWEST: [&str; 3] = ["server-session-lifecycle", "http-header-validation", "caching"];

/// The suite with these arguments, in a folder of its own.
fn suite((_, package): Suite, args: &[&str], folder: &Path) -> Command {
    // Beside the Inspector, wherever that is.
    let place = "target/test-node/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";
    let inspector = installed("HUSK_TEST_INSPECTOR", place);
    let packages = inspector.ancestors().find(|folder| folder.ends_with("node_modules")).unwrap();
    let mut command = Command::new(node());
    command.arg(packages.join(package).join("dist/index.js")).args(args).current_dir(folder);
    command
}

/// Runs a command that has to end.
fn output(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (ends, ended) = channel();
    let waits = std::thread::spawn(move || ends.send(child.wait_with_output()));
    let output = ended.recv_timeout(LONGEST);
    if output.is_err() {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    waits.join().unwrap().unwrap();
    output.unwrap_or_else(|_| panic!("{command:?} did not end")).unwrap()
}

fn conforms(which: Suite, url: &str, scenario: &str) {
    let home = tempfile::tempdir().unwrap();
    let args = ["server", "--url", url, "--scenario", scenario];
    let output = output(suite(which, &args, home.path()));
    let told = String::from_utf8_lossy(&output.stdout);
    let passed =
        told.lines().any(|line| line.starts_with("Passed: ") && line.contains(", 0 failed"));
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && passed, "{which:?} {scenario}:\n{told}\n{why}");
}

#[test]
fn the_scenarios_that_need_no_fixture_pass() {
    let served = Served::start(&[]);
    for scenario in BARE {
        conforms(RELEASED, &served.url(), scenario);
    }
    for scenario in BARE.into_iter().chain(BARE_NEWEST) {
        conforms(NEWEST, &served.url(), scenario);
    }
}

/// The fixtures on husk's stack, with all guards as they are, but for the bound on calls a minute: the
/// suite calls faster than an agent does.
fn fixtures(data: TempDir) -> Served {
    let mut command = Command::new(example());
    without_settings(&mut command);
    command.arg("127.0.0.1:0").env("HUSK_PYTHON", python());
    command.env("HUSK_LIMITS_REQUESTS_PER_MINUTE", "0");
    Served::of(command, data)
}

#[test]
fn a_guest_is_told_who_calls_and_only_those_who_may_run_code_reach_it_beside_their_kernels() {
    let data = tempfile::tempdir().unwrap();
    let alice = Served::token(&data, "alice", &[]);
    let reader = Served::token(&data, "bob", &["notebook:read"]);
    let served = fixtures(data);
    let mut client = served.client(Some(&alice));
    let told = client.call("who_calls", json!({}));
    assert_eq!(told["content"][0]["text"], "token:alice", "{told}");
    // The program that has a guest starts kernels as husk does.
    assert_eq!(client.run("main", "print(6 * 7)"), "42\n");
    let call = json!({"name": "who_calls", "arguments": {}});
    assert_eq!(served.client(Some(&reader)).request("tools/call", call).status, 403);
}

/// The example, as its source is now: who runs this test alone has not built it.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--example", "conformance_server"]);
    cargo.arg("--target-dir").arg(profile.parent().unwrap()).current_dir(repository());
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    // What cargo tells a test of its package would make ring build anew, and with it nearly everything.
    let told =
        |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    std::env::vars().map(|(name, _)| name).filter(told).for_each(|name| {
        cargo.env_remove(name);
    });
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    profile.join("examples/conformance_server")
}

/// Something else than success, or an entry of `tests/conformance.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
struct Finding {
    suite: String,
    scenario: String,
    check: String,
    finding: String,
    #[serde(default)]
    reason: String,
}

/// What is known and why, of that suite.
fn exceptions((name, _): Suite) -> Vec<Finding> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Exceptions {
        exception: Vec<Finding>,
    }
    let text = fs::read_to_string(repository().join("tests/conformance.toml")).unwrap();
    let Exceptions { exception } = toml::from_str(&text).unwrap();
    for one in &exception {
        assert!([RELEASED.0, NEWEST.0].contains(&&*one.suite), "{one:?}");
        assert!(one.reason.trim().len() > 20, "without a reason: {one:?}");
    }
    exception.into_iter().filter(|one| one.suite == name).collect()
}

/// All scenarios of one run with these arguments: which there were, and what was found beside success, with
/// the suite's words.
fn run(which: Suite, url: &str, args: &[&str]) -> (BTreeSet<String>, Vec<(Finding, String)>) {
    let home = tempfile::tempdir().unwrap();
    let results = home.path().join("results");
    let args = [&["server", "--url", url, "--suite", "all", "-o", results.to_str().unwrap()], args]
        .concat();
    let output = output(suite(which, &args, home.path()));
    let mut scenarios = BTreeSet::new();
    let mut found = Vec::new();
    for folder in fs::read_dir(&results).unwrap_or_else(|error| panic!("{error}: {output:?}")) {
        let folder = folder.unwrap();
        let name = folder.file_name().into_string().unwrap();
        // `server-NAME-2026-11-28T04-33-19-382Z`
        let scenario = name.strip_prefix("server-").unwrap();
        let scenario = &scenario[..scenario.len() - "-2026-11-28T04-33-19-382Z".len()];
        let checks = fs::read(folder.path().join("checks.json")).unwrap();
        let checks: Vec<Value> = serde_json::from_slice(&checks).unwrap();
        assert!(!checks.is_empty(), "{scenario} checks nothing");
        found.extend(checks.iter().filter_map(|check| finding(which, scenario, check)));
        scenarios.insert(scenario.to_owned());
    }
    (scenarios, found)
}

/// A check that is no success, and no step on the way to one.
fn finding((name, _): Suite, scenario: &str, check: &Value) -> Option<(Finding, String)> {
    let text = |member: &str| check[member].as_str().unwrap_or_default().to_owned();
    let status = text("status");
    if status == "SUCCESS" || (status == "INFO" && STEPS.contains(&&*text("id"))) {
        return None;
    }
    let finding = Finding {
        suite: name.to_owned(),
        scenario: scenario.to_owned(),
        check: text("id"),
        finding: status,
        reason: String::new(),
    };
    Some((finding, text("errorMessage")))
}

/// All runs of a suite against one server: nothing is found but the exceptions, and all of them are.
fn passes(which: Suite, runs: &[&[&str]]) {
    let served = fixtures(tempfile::tempdir().unwrap());
    let home = tempfile::tempdir().unwrap();
    let listed = output(suite(which, &["list", "--server"], home.path())).stdout;
    let listed = String::from_utf8(listed).unwrap();
    let name = |line: &str| Some(line.trim().strip_prefix("- ")?.split(' ').next()?.to_owned());
    let listed: BTreeSet<String> = listed.lines().filter_map(name).collect();
    let (mut ran, mut known, mut unknown) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let exceptions = exceptions(which);
    for args in runs {
        let (scenarios, found) = run(which, &served.url(), args);
        ran.extend(scenarios);
        for (finding, why) in found {
            let same =
                |one: &&Finding| Finding { reason: String::new(), ..(*one).clone() } == finding;
            match exceptions.iter().find(same) {
                Some(exception) => _ = known.insert(exception.clone()),
                None => unknown.push(format!("{args:?} {finding:?}: {why}")),
            }
        }
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
    assert!(listed.len() > 30 && listed == ran, "not run: {:?}", listed.difference(&ran));
    let passed: Vec<_> = exceptions.iter().filter(|one| !known.contains(one)).collect();
    assert!(passed.is_empty(), "these pass; take them out of tests/conformance.toml: {passed:?}");
}

#[test]
fn the_released_suite_passes() {
    passes(RELEASED, &[&[]]);
}

/// Once each scenario as of its newest revision, and again what each revision has on its own wire.
#[test]
fn the_newest_suite_passes_in_every_revision() {
    let revision = |revision| ["--spec-version", revision];
    let revisions = ["2025-06-18", "2025-11-25", "2026-07-28"].map(revision);
    let runs: Vec<&[&str]> =
        [[].as_slice()].into_iter().chain(revisions.iter().map(|it| it.as_slice())).collect();
    passes(NEWEST, &runs);
}
