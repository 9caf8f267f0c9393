//! `husk doctor --attack`: runs every attack of the table in a fresh kernel, and tells of each whether it
//! was refused. The tests run the same table.
//!
//! What a cell says of itself is held against what was laid out: a socket that was reached counts,
//! whatever the cell says.

use std::{error::Error, fs::File, io, path::Path, process::ExitCode, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{super::Outcome, prey::Prey};
use crate::{
    app,
    base::ids::SessionName,
    config::Config,
    jail::{self, Report, Settings},
    kernel::output::Item,
    sandbox::{Cell, Sandboxes, Status},
};

/// The attacks.
const TABLE: &str = include_str!("attacks.py");
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(60);
/// Bounds that bombs meet soon.
const MEMORY: u64 = 512 << 20;
const TASKS: u64 = 100;
const FILE: u64 = 64 << 20;
const TEMPORARY: u64 = 32 << 20;
const WORKSPACE: u64 = 64 << 20;

/// How an attack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum End {
    Refused,
    Open,
    Inapplicable,
}

/// One attack.
#[derive(Debug, Serialize, Deserialize)]
struct Attack {
    attack: String,
    outcome: End,
    /// What refused it, what it got, or why there was nothing to attack.
    why: String,
    /// Whether it is told as a gap of this level and network that it may be open.
    known: bool,
}

/// The names of the attacks.
#[derive(Debug, Deserialize)]
struct Names {
    attacks: Vec<String>,
    bombs: Vec<String>,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
enum AttackError {
    #[error("the attacks are written in Python; run them without `--kernel` (setting `kernel`)")]
    OtherKernel,
    #[error(
        "level `none` isolates nothing, and attacks would do harm there; choose another with --set sandbox.isolation=auto"
    )]
    Nothing,
    #[error("cannot lay out what is attacked")]
    Prey(#[source] io::Error),
    #[error("the kernel did not say which attacks there are; it said: {0}")]
    Silent(String),
}

pub(super) fn run(json: bool, config: Config) -> Outcome {
    jail::hide_from_others();
    let (report, told) = super::super::runtime()?.block_on(all(config))?;
    let bad = told.iter().any(|attack| attack.outcome == End::Open && !attack.known);
    print(json, &report, &told)?;
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn all(mut config: Config) -> Result<(Report, Vec<Attack>), Box<dyn Error>> {
    if config.kernel.is_some() {
        return Err(AttackError::OtherKernel.into());
    }
    if config.sandbox.isolation.levels(config.sandbox.min_isolation) == [jail::Level::None] {
        return Err(AttackError::Nothing.into());
    }
    tighten(&mut config.sandbox);
    "none".clone_into(&mut config.notebook.file);
    config.output.max_text_bytes = 64 << 10;
    let data = config.data_dir()?;
    let workspace = tempfile::tempdir().map_err(AttackError::Prey)?;
    let mut prey = Prey::lay_out(&data, workspace.path()).map_err(AttackError::Prey)?;
    let mut launcher = app::launcher(&config, workspace.path().to_owned(), data);
    // There is one session.
    launcher.settings.pool = 0;
    let sandboxes = Sandboxes::new(launcher, config.cells.clone(), workspace.path().to_owned());
    let told = Attacker {
        sandboxes: &sandboxes,
        session: SessionName::fresh(),
        workspace: workspace.path(),
    }
    .all(&prey, &config.sandbox)
    .await;
    sandboxes.close().await;
    let (report, mut told) = told?;
    told.push(outlived(workspace.path()));
    told.extend(prey.reached().into_iter().map(|what| Attack {
        attack: "what was laid out".to_owned(),
        outcome: End::Open,
        why: format!("{what} was reached"),
        known: report.network == "full",
    }));
    Ok((report, told))
}

/// Bounds that are met before they do harm; never wider than the user's own.
fn tighten(settings: &mut Settings) {
    let least = |own: Option<u64>, bound: u64| Some(own.unwrap_or(bound).min(bound));
    settings.memory_bytes = least(settings.memory_bytes, MEMORY);
    settings.memory_per_process_bytes = least(settings.memory_per_process_bytes, MEMORY);
    settings.file_size_bytes = least(settings.file_size_bytes, FILE);
    settings.workspace_bytes = least(settings.workspace_bytes, WORKSPACE);
    settings.tmp_bytes = settings.tmp_bytes.min(TEMPORARY);
    settings.pids = settings.pids.min(TASKS);
}

/// A process that a cell has left behind holds a lock.
fn outlived(workspace: &Path) -> Attack {
    let lock = File::open(workspace.join("alive")).map(|file| file.try_lock());
    let (outcome, why) = match lock {
        Ok(Ok(())) => (End::Refused, "it was ended with its kernel"),
        Ok(Err(_held)) => (End::Open, "it still runs"),
        Err(_nothing) => (End::Refused, "it could not be left behind"),
    };
    let attack = "a process that outlives its kernel".to_owned();
    Attack { attack, outcome, why: why.to_owned(), known: false }
}

struct Attacker<'a> {
    sandboxes: &'a Sandboxes,
    session: SessionName,
    workspace: &'a Path,
}

/// What a cell said, and how its kernel died if it did.
type Said = (String, Option<String>);

impl Attacker<'_> {
    async fn all(
        &self,
        prey: &Prey,
        settings: &Settings,
    ) -> Result<(Report, Vec<Attack>), Box<dyn Error>> {
        self.cell("pass").await?;
        let facts = self.sandboxes.status(None).into_iter().find_map(|snapshot| snapshot.facts);
        let report = facts.and_then(|facts| facts.isolation).ok_or(AttackError::Nothing)?;
        let table = table(prey, &report, settings).map_err(AttackError::Prey)?;
        let names = self.prepare(&table).await?;
        let mut told = Vec::new();
        for name in names.attacks.iter().chain(&names.bombs) {
            let attack = self.attack(name).await?;
            if attack.why.starts_with("the kernel was ended") {
                self.prepare(&table).await?;
            }
            told.push(attack);
        }
        self.cell("leave_behind()").await?;
        Ok((report.as_ref().clone(), told))
    }

    /// Tells a kernel the attacks; their names.
    async fn prepare(&self, table: &str) -> Result<Names, Box<dyn Error>> {
        let (said, _) = self.cell(table).await?;
        let names = said.lines().find_map(|line| serde_json::from_str(line).ok());
        names.ok_or_else(|| AttackError::Silent(said).into())
    }

    async fn attack(&self, name: &str) -> Result<Attack, Box<dyn Error>> {
        let (said, died) = self.cell(&format!("attack({})", Value::from(name))).await?;
        for folder in ["many", "empty"] {
            // There only after that bomb.
            let _ = std::fs::remove_dir_all(self.workspace.join(folder));
        }
        let told = said.lines().find_map(|line| serde_json::from_str(line).ok());
        let refused = |why: String| Attack {
            attack: name.to_owned(),
            outcome: End::Refused,
            why,
            known: false,
        };
        Ok(match (told, died) {
            (_, Some(why)) => refused(format!("the kernel was ended: {why}")),
            (Some(told), None) => told,
            (None, None) => refused(format!("it did not end by itself: {}", said.trim())),
        })
    }

    async fn cell(&self, code: &str) -> Result<Said, Box<dyn Error>> {
        let cell = Cell {
            code: code.to_owned(),
            description: None,
            timeout: LONGEST,
            asks: false,
            budgeted: false,
            trace: None,
        };
        let outcome = self.sandboxes.run(&self.session, cell).await?;
        let output = self.sandboxes.cells(&self.session).pop().map(|run| run.output.show(None));
        let items = output.map(|view| view.items).unwrap_or_default();
        let text = items.iter().filter_map(|item| match item {
            Item::Text(text) => Some(text.as_str()),
            Item::Image(_) => None,
        });
        let died = outcome.exit.filter(|_| outcome.status == Status::KernelDied);
        Ok((text.collect(), died.map(|exit| format!("{exit}, {}", exit.meaning()))))
    }
}

/// The table, with what it needs to know before it.
fn table(prey: &Prey, report: &Report, settings: &Settings) -> io::Result<String> {
    let mut told = prey.described()?;
    let facts = [
        ("level", Value::from(report.effective)),
        ("network", report.network.into()),
        ("memory", settings.memory_bytes.into()),
        ("tasks", settings.pids.into()),
        ("file", settings.file_size_bytes.into()),
        ("tmp", settings.tmp_bytes.into()),
        ("workspace", settings.workspace_bytes.into()),
    ];
    if let Value::Object(told) = &mut told {
        told.extend(facts.map(|(name, value)| (name.to_owned(), value)));
    }
    // A text in JSON is one in Python too.
    Ok(format!("import json\nt = json.loads({})\n{TABLE}", Value::from(told.to_string())))
}

#[expect(clippy::print_stdout, reason = "the command's own output")]
fn print(json: bool, report: &Report, told: &[Attack]) -> Result<(), serde_json::Error> {
    if json {
        let all = serde_json::json!({ "isolation": report, "attacks": told });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    println!("attacks from a kernel at level `{}`, network `{}`", report.effective, report.network);
    for Attack { attack, outcome, why, known } in told {
        let word = match outcome {
            End::Refused => "refused",
            End::Open if *known => "open (known)",
            End::Open => "OPEN",
            End::Inapplicable => "not applicable",
        };
        let why = why.replace(char::is_control, " ");
        println!("{word:<15} {attack:<40} {why}");
    }
    let count = |end: End| told.iter().filter(|attack| attack.outcome == end).count();
    let unexpected = told.iter().filter(|it| it.outcome == End::Open && !it.known).count();
    println!(
        "{} refused, {} open ({unexpected} of them unexpectedly), {} not applicable",
        count(End::Refused),
        count(End::Open),
        count(End::Inapplicable)
    );
    Ok(())
}
