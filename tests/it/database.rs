//! Servers that share a PostgreSQL database: what each of them answers, and what happens when the
//! database, or the way to it, is gone for a while.

mod partition;
mod tls;

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use husk::{
    app::registry::Opened,
    base::ids::SessionName,
    sandbox::{
        registry::Key,
        servers::{Server, Site},
        state::tenure::{Stage, Step, Terms},
        tenancy::{Claimed, Got, Made, Pace, Tenancy},
    },
    store::{Settings, settings::Url},
};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    host::{Answer, Host},
    husk,
    postgres::{Carries, Cluster, PASSWORD, Wire},
    processes::Watched,
    python,
};

/// How long a test waits for what must come; a hang is what it catches.
const SOON: Duration = Duration::from_secs(60);

/// Machines that share a workspace and a database, each with a data folder of its own.
struct Machines {
    folder: TempDir,
    url: String,
}

impl Machines {
    fn new(url: String) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url }
    }

    /// A folder of a machine, or of all.
    fn at(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn command(&self, machine: &str) -> std::process::Command {
        let mut command = husk();
        command
            .env("XDG_RUNTIME_DIR", self.at(&format!("{machine}-run")))
            .env("TMPDIR", self.at(&format!("{machine}-run")))
            .env("HUSK_DATA_DIR", self.at(machine))
            .env("HUSK_PYTHON", python())
            .env("HUSK_STORE_URL", &self.url)
            .env("HUSK_STORE_TIMEOUT", "3")
            .env("HUSK_DEDUP_MODE", "off")
            .env("HUSK_SESSIONS_KEEP_ALIVE", "600")
            .env("HUSK_HTTP_ADVERTISE", format!("https://{machine}.example.com/mcp"))
            .arg("--workspace")
            .arg(self.at("work"));
        command
    }

    fn start(&self, machine: &str) -> Host {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = self.command(machine);
        command.current_dir(workspace.path());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        host
    }
}

/// Runs a cell in the session that all machines know.
fn cell(host: &mut Host, code: &str) -> Answer {
    host.tool("notebook_run_cell", json!({ "code": code, "session": "shared" }))
}

fn denied(answer: &Answer) -> &str {
    answer.structured()["denied"]["code"].as_str().unwrap_or("not denied")
}

/// The init of the kernel that holds the session on that machine.
fn kernel(host: &mut Host) -> Watched {
    let pid = cell(host, "import os; print(os.getpid())").text();
    Watched::hold(host.outside(pid.trim()))
}

#[test]
fn a_session_is_one_on_all_machines() {
    let Some(cluster) = Cluster::shared() else { return };
    let machines = Machines::new(cluster.database());
    let (mut one, mut two) = (machines.start("one"), machines.start("two"));
    assert_eq!(cell(&mut one, "x = 1").status(), "ok");
    let kernel = kernel(&mut one);

    // Who has it is told, whatever is asked.
    let calls = [
        ("notebook_run_cell", json!({ "code": "x", "session": "shared" })),
        ("notebook_wait_cell", json!({ "cell": "c1", "session": "shared" })),
        ("notebook_inspect", json!({ "session": "shared" })),
        ("notebook_interrupt", json!({ "session": "shared" })),
        ("sandbox_reset", json!({ "session": "shared" })),
    ];
    for (tool, arguments) in calls {
        let answer = two.tool(tool, arguments);
        let (code, text) = (denied(&answer), answer.text());
        assert_eq!(code, "elsewhere", "{tool}: {answer:?}");
        let server = format!("server {} on ", one.child.id());
        assert!(text.contains(&server), "{tool}: {text}");
        assert!(text.contains("https://one.example.com/mcp"), "{tool}: {text}");
    }
    assert_eq!(cell(&mut one, "x += 1; x").text().trim(), "2");

    // A server that ends leaves the kernel to its machine's next one; another machine cannot have it.
    drop(one);
    let answer = cell(&mut two, "'x' in globals()");
    assert!(answer.text().starts_with("False"), "{answer:?}");
    assert!(answer.text().contains("where it ends by itself"), "{answer:?}");
    let again = machines.start("one");
    kernel.must_end_within(SOON, "the kernel that nobody can ask for any more");
    drop((again, two));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_reach_the_database_goes_on_with_what_it_has() {
    let Some(cluster) = Cluster::shared() else { return };
    let wire = Wire::to(cluster).await;
    let machines = Machines::new(wire.leading_to(&cluster.database()));
    tokio::task::spawn_blocking(move || {
        let mut host = machines.start("one");
        // A slow way makes slow, and nothing else.
        wire.carries(Carries::Late(Duration::from_millis(5)));
        let mut tries = std::iter::repeat_with(|| cell(&mut host, "x = 1")).take(60);
        assert!(tries.any(|answer| answer.status() == "ok"));
        drop(tries);
        wire.carries(Carries::Nothing);
        assert_eq!(cell(&mut host, "x += 1; x").text().trim(), "2");
        let other = json!({ "code": "1", "session": "other" });
        let answer = host.tool("notebook_run_cell", other.clone());
        assert_eq!(denied(&answer), "store_unusable", "{answer:?}");
        assert!(answer.text().contains("has not answered within 3 s"), "{answer:?}");
        assert!(!answer.text().contains(PASSWORD), "{answer:?}");
        assert_eq!(cell(&mut host, "x += 1; x").text().trim(), "3");

        wire.carries(Carries::All);
        let mended = std::iter::repeat_with(|| host.tool("notebook_run_cell", other.clone()));
        let mut tries = mended.take(60);
        assert!(tries.any(|answer| answer.status() == "ok"), "it mends itself");

        // What was not written down is by now: the next server of that machine finds it all.
        host.child.kill().unwrap();
        host.child.wait().unwrap();
        let mut next = machines.start("one");
        let answer = cell(&mut next, "x");
        assert!(answer.text().trim().starts_with('3'), "{answer:?}");
        assert!(answer.text().contains("generation 1"), "{answer:?}");
        let ended = next.tool("sandbox_reset", json!({ "session": "other" }));
        assert!(!ended.is_error(), "{ended:?}");
        // Nothing stays behind.
        for session in ["shared", "other"] {
            let stop = machines.command("one").args(["sessions", "stop", session]).output();
            assert!(stop.unwrap().status.success(), "{session}");
        }
    })
    .await
    .unwrap();
}

#[test]
fn the_password_is_shown_nowhere() {
    let Some(cluster) = Cluster::shared() else { return };
    let right = cluster.database();
    let wrong = right.replace("husk:", "nobody:");
    for (url, args) in [(&right, "config"), (&right, "sessions"), (&wrong, "sessions")] {
        let machines = Machines::new(url.clone());
        let mut command = machines.command("one");
        let output = command.args(["--log", "trace", args]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(PASSWORD), "{args}: {text}");
        assert!(args != "config" || text.contains("store.url = \"postgres://husk@"), "{text}");
    }
    // A server with everything in its log, whose database refuses it.
    let machines = Machines::new(wrong);
    let workspace = tempfile::tempdir().unwrap();
    let mut command = machines.command("one");
    let log = machines.at("log").join("log");
    let file = std::fs::File::create(&log).unwrap();
    command.args(["--log", "trace"]).stderr(Stdio::from(file)).current_dir(workspace.path());
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    let answer = cell(&mut host, "1");
    assert_eq!(denied(&answer), "store_unusable", "{answer:?}");
    assert!(answer.text().contains("does not let husk in"), "{answer:?}");
    drop(host);
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("postgres://nobody@") && !log.contains(PASSWORD));
}

#[test]
fn a_password_that_is_given_by_a_variable_is_used_and_is_not_in_the_environment_of_cells() {
    let Some(cluster) = Cluster::shared() else { return };
    let machines = Machines::new(cluster.database().replace(&format!(":{PASSWORD}@"), "@"));
    let look = "import os\n[name for name, value in os.environ.items() if 'hunter' in value]";
    let check = |allowed: &str, expected: &str| {
        let workspace = tempfile::tempdir().unwrap();
        let mut command = machines.command("one");
        command.env("PGPASSWORD", PASSWORD).env("HUSK_SANDBOX_ISOLATION", "none");
        command.env("HUSK_SANDBOX_ENV_ALLOW", allowed).current_dir(workspace.path());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        assert_eq!(cell(&mut host, look).text().trim(), expected);
        // No other kernel is taken over.
        host.tool("sandbox_reset", json!({ "session": "shared" }));
        drop(host);
        let mut stop = machines.command("one");
        stop.env("PGPASSWORD", PASSWORD).args(["sessions", "stop", "shared"]);
        let stopped = stop.output().unwrap();
        assert!(stopped.status.success(), "{stopped:?}");
    };
    check("LANG", "[]");
    // Who names it wants it.
    check("LANG,PGPASSWORD", "['PGPASSWORD']");
}

/// Nobody waits for a claim to lapse here.
const PACE: Pace = Pace {
    lease: Duration::from_secs(3600),
    renewals: Duration::from_millis(50),
    looks: Duration::from_millis(100),
};

/// A server on a machine of its own.
fn tenancy(machine: &TempDir, url: &str) -> Tenancy {
    let settings =
        Settings { url: Some(Url::new(url.to_owned())), timeout: 3.0, ..Settings::default() };
    let store = Arc::new(Opened::new(machine.path().to_owned(), settings));
    let site = Site::of(machine.path(), "machine").unwrap();
    Tenancy::new(store, Server::open_at(machine.path(), site, None).unwrap(), PACE)
}

fn key() -> Key {
    Key { workspace: "/work".into(), name: SessionName::new("s").unwrap() }
}

async fn made(_: Claimed) -> Result<Made, String> {
    Ok(Made { place: "here".into(), generation: 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_the_database_is_gone_is_written_down_later_in_its_order() {
    let Some(cluster) = Cluster::shared() else { return };
    let (wire, machine) = (Wire::to(cluster).await, tempfile::tempdir().unwrap());
    let tenancy = tenancy(&machine, &wire.leading_to(&cluster.database()));
    let Ok(Got::Won(held)) = tenancy.get_or_create(&key(), made).await else {
        panic!("nobody else wants it")
    };
    wire.carries(Carries::Nothing);
    for number in 1..=500 {
        held.tell(Step::CellBegan(number));
        held.tell(Step::CellEnded);
    }
    held.tell(Step::CellBegan(501));
    assert!(held.step(Step::StartBegan).await.unwrap_err().passes);
    wire.carries(Carries::All);
    let written = async {
        loop {
            if let Ok(all) = tenancy.registry().all().await
                && all[0].tenure.stage == Stage::Busy
                && all[0].tenure.cells == 501
            {
                return;
            }
            tokio::time::sleep(PACE.renewals).await;
        }
    };
    tokio::time::timeout(SOON, written).await.unwrap();
    assert!(held.step(Step::CellEnded).await.unwrap(), "the claim holds");
}

/// As if the answer to a claim of that server's were lost: it is written down, and it does not know.
async fn claims_unawares(tenancy: &Tenancy, by: &Tenancy) {
    let holder = tenancy.server().name().to_owned();
    let terms = Terms { holder, lease: PACE.lease, dead: None };
    by.registry().claim(&key(), &terms).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_answer_was_lost_is_claimed_again_or_given_back() {
    let Some(cluster) = Cluster::shared() else { return };
    let url = cluster.database();
    let machines = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = machines.each_ref().map(|machine| tenancy(machine, &url));
    claims_unawares(&here, &there).await;
    let Got::Won(held) = here.get_or_create(&key(), made).await.unwrap() else {
        panic!("it is nobody else's")
    };
    assert!(held.step(Step::Left).await.unwrap());
    // Again, and it does not ask for it any more: its clerk sees what it does not know of.
    claims_unawares(&here, &there).await;
    let other = Key { name: SessionName::new("other").unwrap(), ..key() };
    let Got::Won(_kept) = here.get_or_create(&other, made).await.unwrap() else {
        panic!("nobody else wants it")
    };
    let got = tokio::time::timeout(SOON, there.get_or_create(&key(), made)).await.unwrap();
    let Ok(Got::Won(held)) = got else { panic!("it was given back: {got:?}") };
    assert_eq!(there.registry().find(held.key()).await.unwrap().unwrap().0.generation, 1);
}
