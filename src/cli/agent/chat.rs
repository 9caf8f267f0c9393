//! `husk agent chat`: one prompt after the other, with editing and a history.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use rustyline::{
    Config as LineConfig, DefaultEditor, Editor, error::ReadlineError, history::DefaultHistory,
};
use tokio_util::sync::CancellationToken;

use super::{
    Outcome,
    build::{Built, Checked},
    command::{self, Command},
    flags::Flags,
    show::{Show, print as say},
    user::User,
};
use crate::config::Config;

/// Arguments of `husk agent chat`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    flags: Flags,
}

/// Lines that are remembered.
const REMEMBERED: usize = 1000;

/// A chat that goes on.
struct Chat<'a> {
    built: Built,
    user: Arc<User>,
    flags: &'a Flags,
}

pub(super) fn run(args: Args, forwarded: Vec<OsString>, config: &Config) -> Outcome {
    let checked = Checked::new(&args.flags, forwarded, config)?;
    let history = config.data_dir().ok().map(|folder| folder.join("agent-history"));
    let runtime = crate::cli::runtime()?;
    let outcome = runtime.block_on(async {
        let user = Arc::new(User::new(CancellationToken::new()));
        let built = checked.start(&args.flags, Arc::clone(&user)).await?;
        let mut chat = Chat { built, user, flags: &args.flags };
        let outcome = chat.talk(history).await;
        let exported = super::ask::export(&chat.built.agent, &args.flags).await;
        chat.built.agent.close().await;
        exported.and(outcome)
    });
    runtime.shutdown_timeout(std::time::Duration::from_millis(50));
    outcome
}

impl Chat<'_> {
    async fn talk(&mut self, history: Option<PathBuf>) -> Outcome {
        let tools = self.built.agent.toolbox().described().len();
        say(&format!("{tools} tools; /help tells the commands, /exit ends.\n"));
        let mut lines = Lines::open(history)?;
        loop {
            let read = lines.next().await?;
            lines = read.0;
            let Some(line) = read.1 else { return Ok(ExitCode::SUCCESS) };
            if line.trim_start().starts_with('/') {
                match command::read(&line) {
                    Ok(Command::Exit) => return Ok(ExitCode::SUCCESS),
                    Ok(command) => self.obey(command).await,
                    Err(fault) => say(&format!("{fault}\n")),
                }
            } else if !line.trim().is_empty() {
                self.answer(&line).await?;
            }
        }
    }

    /// Works on a prompt; Ctrl-C stops it, and the chat goes on.
    async fn answer(&mut self, prompt: &str) -> Result<(), Box<dyn std::error::Error>> {
        let stop = CancellationToken::new();
        self.user.for_run(stop.clone());
        let mut show = Show::new(self.flags, self.user.asking());
        let mut events = self.built.agent.run(prompt, &stop);
        let mut waits = true;
        loop {
            tokio::select! {
                biased;
                pressed = tokio::signal::ctrl_c(), if waits => {
                    pressed?;
                    stop.cancel();
                    waits = false;
                }
                event = show.next(&mut events) => match event {
                    Some(event) => show.event(&event)?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Help => say(command::HELP),
            Command::Tools => self.tools(),
            Command::Usage => self.usage(),
            Command::Cost => self.cost(),
            Command::Model(model) => self.model(model),
            Command::Budget(budget) => {
                let limits = &mut self.built.agent.settings.limits;
                *limits = budget.map_or(*limits, |budget| budget.set(*limits));
                say(&format!("{}\n", command::told(limits)));
            }
            Command::Save(file) => {
                let written = self.built.agent.write_down(&file);
                said(&file, written.map_err(|error| error.to_string()));
            }
            Command::Export(file) => {
                let notebook = self.built.agent.notebook().await;
                said(&file, export(&file, &notebook));
            }
            // The loop ends with it.
            Command::Exit => {}
        }
    }

    fn tools(&self) {
        for tool in self.built.agent.toolbox().described() {
            let first = tool.description.lines().next().unwrap_or_default();
            say(&format!("{}: {first}\n", tool.name));
        }
    }

    fn usage(&self) {
        let taken = self.built.agent.conversation().taken();
        let read = taken.input_tokens + taken.cache_read_tokens + taken.cache_write_tokens;
        say(&format!(
            "{read} tokens read ({} of them from the provider's cache), {} written\n",
            taken.cache_read_tokens, taken.output_tokens
        ));
    }

    fn cost(&self) {
        match self.built.agent.conversation().taken().cost_usd {
            Some(usd) => say(&format!("${usd:.4}, estimated\n")),
            None => say("not known: a model has no price (--prices FILE)\n"),
        }
    }

    fn model(&mut self, model: Option<String>) {
        let settings = &mut self.built.agent.settings;
        match model {
            Some(_) if self.built.fixed_models => {
                say("the routes name the model of every target: change them there\n");
            }
            Some(model) => settings.model = Some(model),
            None => say(&format!("{}\n", settings.model.as_deref().unwrap_or("as the routes say"))),
        }
    }
}

fn export(file: &Path, notebook: &str) -> Result<(), String> {
    use std::io::Write;
    let written = std::fs::File::create_new(file);
    written
        .and_then(|mut file| file.write_all(notebook.as_bytes()))
        .map_err(|error| format!("cannot write the notebook `{}`: {error}", file.display()))
}

fn said(file: &Path, written: Result<(), String>) {
    match written {
        Ok(()) => say(&format!("{}\n", file.display())),
        Err(fault) => say(&format!("{fault}\n")),
    }
}

/// The lines of the user.
struct Lines {
    editor: DefaultEditor,
    history: Option<PathBuf>,
}

impl Lines {
    fn open(history: Option<PathBuf>) -> Result<Self, ReadlineError> {
        let config =
            LineConfig::builder().max_history_size(REMEMBERED)?.auto_add_history(false).build();
        let mut editor: DefaultEditor = Editor::<(), DefaultHistory>::with_config(config)?;
        if let Some(file) = &history
            && file.exists()
            && let Err(error) = editor.load_history(file)
        {
            tracing::warn!(%error, "the history of earlier chats cannot be read");
        }
        Ok(Self { editor, history })
    }

    /// The next prompt or command; nothing at the end. It waits in a thread of its own.
    async fn next(self) -> Result<(Self, Option<String>), Box<dyn std::error::Error>> {
        let read = tokio::task::spawn_blocking(move || {
            let mut lines = self;
            let line = lines.read();
            (lines, line)
        });
        let (lines, line) = read.await?;
        Ok((lines, line?))
    }

    fn read(&mut self) -> Result<Option<String>, ReadlineError> {
        let mut whole = String::new();
        loop {
            let prompt = if whole.is_empty() { "› " } else { "… " };
            match self.editor.readline(prompt) {
                Ok(line) => match line.strip_suffix('\\') {
                    Some(line) => whole += &format!("{line}\n"),
                    None => {
                        whole += &line;
                        break;
                    }
                },
                // A line that is given up, as in a shell.
                Err(ReadlineError::Interrupted) => return Ok(Some(String::new())),
                Err(ReadlineError::Eof) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if !whole.trim().is_empty() {
            self.remember(&whole)?;
        }
        Ok(Some(whole))
    }

    fn remember(&mut self, line: &str) -> Result<(), ReadlineError> {
        let added = self.editor.add_history_entry(line)?;
        if let Some(file) = self.history.as_ref().filter(|_| added) {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            if let Err(error) = self.editor.save_history(file) {
                tracing::warn!(%error, "the history could not be kept");
            }
        }
        Ok(())
    }
}
