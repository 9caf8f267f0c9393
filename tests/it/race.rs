//! Many tasks of many processes want one session: real processes, one store, no kernels. With the
//! feature `postgres` each test runs on both stores.
//!
//! The processes are this very test binary, run again: [`helper`] does what its standard input says.

#![expect(clippy::print_stdout, reason = "it is how the processes answer")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use husk::{
    app::registry::Opened,
    base::ids::SessionName,
    sandbox::{
        registry::Key,
        servers::Server,
        state::tenure::Stage,
        tenancy::{Got, Made, Pace, Tenancy},
    },
    store,
};
use rustix::process::{Pid, Signal, kill_process};

const FOLDER: &str = "HUSK_TEST_RACE_FOLDER";
const URL: &str = "HUSK_TEST_RACE_URL";
const PROCESSES: usize = 4;
const TASKS: usize = 64;
const ROUNDS: usize = 100;

/// Short enough for a test to see a claim lapse.
const PACE: Pace = Pace {
    lease: Duration::from_millis(600),
    renewals: Duration::from_millis(100),
    looks: Duration::from_millis(100),
};

fn key(name: &str) -> Key {
    Key { workspace: "/work".into(), name: SessionName::new(name).unwrap() }
}

/// What the processes share.
struct Home {
    folder: tempfile::TempDir,
    url: Option<String>,
}

impl Home {
    fn of_a_file() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), url: None }
    }

    #[cfg(feature = "postgres")]
    fn of_a_database() -> Option<Self> {
        let url = crate::support::postgres::Cluster::shared()?.database();
        Some(Self { url: Some(url), ..Self::of_a_file() })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn tenancy(&self, pace: Pace) -> Tenancy {
        tenancy(self.path(), self.url.as_deref(), pace)
    }
}

fn tenancy(folder: &Path, url: Option<&str>, pace: Pace) -> Tenancy {
    let url = url.map(|url| store::settings::Url::new(url.to_owned()));
    let settings = store::Settings { url, timeout: 30.0, ..store::Settings::default() };
    let registry = Arc::new(Opened::new(folder.to_owned(), settings));
    Tenancy::new(registry, Server::open(folder).unwrap(), pace)
}

/// Tests of processes with a home of their own, on each store.
macro_rules! on_both {
    ($(async fn $name:ident($home:ident) $body:block)*) => {
        mod in_a_file {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    let $home = Home::of_a_file();
                    $body
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod in_a_database {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    let Some($home) = Home::of_a_database() else { return };
                    $body
                }
            )*
        }
    };
}

fn made(place: &str) -> Made {
    Made { place: place.into(), generation: 1 }
}

/// A process of its own.
struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(home: &Home) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "race::helper", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, home.path())
            .envs(home.url.iter().map(|url| (URL, url)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdin, stdout }
    }

    fn tell(&mut self, word: &str) {
        writeln!(self.stdin, "{word}").unwrap();
        self.stdin.flush().unwrap();
    }

    /// The next line of its own; what the test harness prints is passed over.
    fn told(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the process has ended");
            if let Some((_, told)) = line.split_once("> ") {
                return told.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the processes do; nothing when it runs as a test.
#[test]
fn helper() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (folder, url) = (Path::new(&folder), std::env::var(URL).ok());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let races = runtime.block_on(async { tenancy(folder, url.as_deref(), Pace::default()) });
    loop {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap() == 0 {
            return;
        }
        let told = match line.trim().split_once(' ') {
            Some(("race", name)) => runtime.block_on(race(&races, name)),
            Some(("hang", name)) => runtime.block_on(hang(folder, url.as_deref(), name)),
            _ => "what?".to_owned(),
        };
        println!("> {told}");
    }
}

/// All tasks at once; how many won, found it with this process, with another, and failed.
async fn race(tenancy: &Tenancy, name: &str) -> String {
    let key = key(name);
    let one = |_| {
        let (tenancy, key) = (tenancy.clone(), key.clone());
        tokio::spawn(async move {
            let create = async |_| {
                // As long as nothing: all the others come meanwhile.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Ok(made(&std::process::id().to_string()))
            };
            tenancy.get_or_create(&key, create).await
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(one).collect();
    let mut counts = [0; 4];
    for task in tasks {
        counts[match task.await.unwrap() {
            Ok(Got::Won(_)) => 0,
            Ok(Got::Ours(_)) => 1,
            Ok(Got::Theirs(_)) => 2,
            Err(error) => {
                println!("{error}");
                3
            }
        }] += 1;
    }
    counts.map(|count| count.to_string()).join(" ")
}

/// Claims it and goes on when another line comes; how that ends.
async fn hang(folder: &Path, url: Option<&str>, name: &str) -> String {
    let create = async |_| {
        println!("> claimed");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        Ok(made("late"))
    };
    match tenancy(folder, url, PACE).get_or_create(&key(name), create).await {
        Ok(Got::Won(_)) => "won".to_owned(),
        Ok(_) => "lost".to_owned(),
        Err(error) => error.to_string(),
    }
}

on_both! {
    async fn of_256_tasks_in_four_processes_one_wins_and_none_fails_a_hundred_times(home) {
        let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::start(&home)).collect();
        let (mut with_winner, mut elsewhere) = (0, 0);
        for round in 0..ROUNDS {
            processes.iter_mut().for_each(|process| process.tell(&format!("race s{round}")));
            let mut sums = [0; 4];
            for process in &mut processes {
                let told = process.told();
                let counts: Vec<usize> =
                    told.split(' ').map(|count| count.parse().expect("counts")).collect();
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            let [won, ours, theirs, failed] = sums;
            assert_eq!((won, failed), (1, 0), "round {round}: {sums:?}");
            assert_eq!(won + ours + theirs, PROCESSES * TASKS, "round {round}: {sums:?}");
            (with_winner, elsewhere) = (with_winner + ours, elsewhere + theirs);
        }
        assert_eq!(with_winner, ROUNDS * (TASKS - 1));
        assert_eq!(elsewhere, ROUNDS * (PROCESSES - 1) * TASKS);
    }

    async fn a_starter_that_was_killed_is_taken_over_at_once(home) {
        let mut starter = Process::start(&home);
        starter.tell("hang s");
        assert_eq!(starter.told(), "claimed");
        // With a lease of twenty seconds nobody would wait for it here.
        let tenancy = home.tenancy(Pace { lease: Duration::from_secs(3600), ..PACE });
        let asked = {
            let tenancy = tenancy.clone();
            tokio::spawn(async move {
                tenancy
                    .get_or_create(&key("s"), async |claimed| {
                        Ok(made(&claimed.tenure.epoch.to_string()))
                    })
                    .await
            })
        };
        starter.signal(Signal::KILL);
        starter.child.wait().unwrap();
        assert!(matches!(asked.await.unwrap(), Ok(Got::Won(_))));
        let all = tenancy.registry().all().await.unwrap();
        assert_eq!(all[0].tenure.place.as_deref(), Some("2"), "the second claim: {all:?}");
    }

    async fn a_starter_that_hangs_is_taken_over_when_its_lease_lapses_and_is_told_so(home) {
        let mut starter = Process::start(&home);
        starter.tell("hang s");
        assert_eq!(starter.told(), "claimed");
        starter.signal(Signal::STOP);
        let tenancy = home.tenancy(PACE);
        let got = tenancy.get_or_create(&key("s"), async |_| Ok(made("new"))).await.unwrap();
        assert!(matches!(got, Got::Won(_)), "{got:?}");
        starter.signal(Signal::CONT);
        starter.tell("go on");
        let told = starter.told();
        assert!(told.contains("another process has taken the session over"), "{told}");
        let all = tenancy.registry().all().await.unwrap();
        assert_eq!((all[0].tenure.stage, all[0].tenure.place.as_deref()), (Stage::Idle, Some("new")));
    }

    async fn who_waits_for_a_start_that_fails_tries_for_itself(home) {
        let (one, two) = (home.tenancy(PACE), home.tenancy(PACE));
        let (claimed, fail) = (tokio::sync::Notify::new(), tokio::sync::Notify::new());
        let (key_one, key_two) = (key("s"), key("s"));
        let first = one.get_or_create(&key_one, async |_| {
            claimed.notify_one();
            fail.notified().await;
            Err("no Python".to_owned())
        });
        let second = async {
            claimed.notified().await;
            fail.notify_one();
            two.get_or_create(&key_two, async |_| Ok(made("second"))).await
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first.unwrap_err().to_string(), "no Python");
        assert!(matches!(second, Ok(Got::Won(_))), "{second:?}");
    }

    async fn a_session_that_is_taken_away_is_told_to_who_had_it(home) {
        let (one, two) = (home.tenancy(PACE), home.tenancy(PACE));
        let Got::Won(held) = one.get_or_create(&key("s"), async |_| Ok(made("one"))).await.unwrap()
        else {
            panic!("nobody else wants it")
        };
        assert!(matches!(
            two.get_or_create(&key("s"), async |_| Ok(made("two"))).await,
            Ok(Got::Theirs(_))
        ));
        // As if its process had stood still: its name is not one that lives.
        let file = fs::read_dir(home.path().join("servers")).unwrap().flatten();
        let mine = file.map(|file| file.path()).find(|path| path.ends_with(one.server().name()));
        fs::remove_file(mine.unwrap()).unwrap();
        assert!(matches!(
            two.get_or_create(&key("s"), async |_| Ok(made("two"))).await,
            Ok(Got::Won(_))
        ));
        held.lost().await;
    }
}
