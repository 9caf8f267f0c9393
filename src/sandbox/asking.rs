//! Runs a Python that cells may have written, in a sandbox like a kernel's, to hear what it is.
//!
//! Nothing of this machine is written to: it sees itself, answers into one file, and is ended.

use std::{
    ffi::OsString,
    io::Read,
    path::{Path, PathBuf},
};

use super::{
    programs,
    python::{
        probe::LONGEST_ANSWER,
        reach::{Answer, Confined, Reach},
    },
    run_folder::{Run, RunError},
};
use crate::jail::{self, Exit, Ground, Network, Plan, Process, SpawnError};

/// See the module's documentation.
#[derive(Debug)]
pub struct Asking {
    /// How kernels are isolated.
    pub isolation: jail::Settings,
    /// The binary that becomes the init.
    pub init: PathBuf,
    /// husk's own folder.
    pub state: PathBuf,
    /// Where cells may write.
    pub folders: Vec<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Run(RunError),
    #[error("cannot prepare the file for its answer: {0}")]
    Files(std::io::Error),
    #[error("{0}")]
    Refused(jail::plan::Refused),
    #[error("{0}")]
    Spawn(SpawnError),
    #[error("it ended with {exit}; it wrote: {log}")]
    Ended { exit: Exit, log: String },
}

impl Confined for Asking {
    fn answer<'a>(&'a self, python: &'a Path, args: &'a [&'a str]) -> Answer<'a> {
        Box::pin(async move { self.run(python, args).await.map_err(|why| why.to_string()) })
    }
}

impl Asking {
    async fn run(&self, python: &Path, args: &[&str]) -> Result<String, Error> {
        let run = Run::make().map_err(Error::Run)?;
        let workspace = run.folder.join("w");
        std::fs::create_dir(&workspace).map_err(Error::Files)?;
        let answer = run.outer.join("answer");
        std::fs::write(&answer, "").map_err(Error::Files)?;
        let ground = self.ground(python, workspace, &run);
        let process = self.started(python, args, &ground, &run).await?;
        let exit = process.exited().await;
        process.log_ended().await;
        let log = process.log();
        process.all_ended().await;
        if exit != Exit::Code(0) {
            return Err(Error::Ended { exit, log: log.trim().to_owned() });
        }
        let mut text = Vec::new();
        let file = std::fs::File::open(&answer).map_err(Error::Files)?;
        file.take(LONGEST_ANSWER).read_to_end(&mut text).map_err(Error::Files)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn ground(&self, python: &Path, workspace: PathBuf, run: &Run) -> Ground {
        let home = etcetera::home_dir().ok();
        let reach = Reach { folders: self.folders.clone(), ..Reach::default() };
        let mut ground = Ground {
            workspace,
            run: run.outer.clone(),
            programs: Vec::new(),
            home: home.map(|home| home.canonicalize().unwrap_or(home)),
            state: self.state.clone(),
            memory: jail::machine_memory(),
            settings: None,
            record: None,
        };
        ground.programs = programs::to_ask(python, &ground, &reach);
        ground
    }

    /// At the strongest level that works.
    async fn started(
        &self,
        python: &Path,
        args: &[&str],
        ground: &Ground,
        run: &Run,
    ) -> Result<Process, Error> {
        let settings = jail::Settings { network: Network::None, ..self.isolation.clone() };
        let mut last = None;
        for level in settings.isolation.levels(settings.min_isolation) {
            let plan = Plan::make(&settings, level, ground).map_err(Error::Refused)?;
            let answer = plan.seen_run(&run.outer).join("answer");
            let words = args.iter().map(OsString::from);
            let command = jail::Command {
                program: python.into(),
                args: words.chain([answer.into_os_string()]).collect(),
                environment: jail::plan::environment(&settings, Vec::new(), std::env::vars_os()),
                plan,
                run_folder: run.outer.join("t"),
                init: self.init.clone(),
            };
            match Process::spawn(&command).await {
                Err(denied @ SpawnError::Denied { .. }) => last = Some(denied),
                started => return started.map_err(Error::Spawn),
            }
        }
        Err(last.map_or(Error::Spawn(SpawnError::Silent), Error::Spawn))
    }
}
