//! Makes an agent of the flags: its routes and keys, its tool servers, its transcript.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use etcetera::BaseStrategy;
use serde_json::{Value, json};

use super::{BadInput, flags::Flags, guardrail, user::User};
use crate::{
    agent::{
        Agent, Parts,
        elicit::Elicit,
        fresh,
        server::config::{self, Wanted, Way},
        toolbox::Toolbox,
        transcript::Transcript,
    },
    config::Config,
    jail,
    llm::{
        self, Client,
        answers::Answers,
        client,
        error::LlmError,
        keys::Here,
        price::Prices,
        route::{Kind, Routes},
    },
};

/// The model that is asked where nobody names one and Anthropic's key is there.
const MODEL: &str = "claude-sonnet-4-5";

/// An agent, and what the command line wants to know of it.
pub(super) struct Built {
    pub(super) agent: Agent,
    /// Whether the routes name every model, so that no other can be chosen.
    pub(super) fixed_models: bool,
}

/// What must hold before anything is started.
pub(super) struct Checked {
    routes: Routes,
    client: Client,
    servers: Vec<Wanted>,
    own: bool,
}

impl Checked {
    /// Reads what the flags name.
    ///
    /// # Errors
    /// [`BadInput`].
    pub(super) fn new(
        flags: &Flags,
        forwarded: Vec<OsString>,
        config: &Config,
    ) -> Result<Self, BadInput> {
        let home = etcetera::base_strategy::choose_native_strategy().ok();
        let folder = home.map(|home| home.config_dir().join("husk"));
        if let Some(export) = flags.export.as_deref().filter(|it| it.exists() && !flags.resume) {
            return Err(BadInput::new(format!(
                "`{}` is there already; name another file for --export",
                export.display()
            )));
        }
        let routes = routes(flags, folder.as_deref())?;
        let client = client(flags, &routes, folder.as_deref(), config)?;
        let (servers, own) = match &flags.mcp_config {
            Some(file) => (config::read(file).map_err(BadInput::new)?, false),
            None => (vec![husk(forwarded)], true),
        };
        Ok(Self { routes, client, servers, own })
    }

    /// Starts the tool servers.
    ///
    /// # Errors
    /// What cannot be started, and a transcript that cannot be written.
    pub(super) async fn start(
        self,
        flags: &Flags,
        user: Arc<User>,
    ) -> Result<Built, Box<dyn std::error::Error>> {
        let settings = flags.settings(self.own);
        let (transcript, conversation) = match &flags.transcript {
            Some(file) if flags.resume => {
                let (transcript, conversation) = Transcript::resume(file).map_err(BadInput::new)?;
                (Some(transcript), conversation)
            }
            Some(file) => {
                let conversation = fresh();
                let transcript = Transcript::create(file, &conversation).map_err(BadInput::new)?;
                (Some(transcript), conversation)
            }
            None => (None, fresh()),
        };
        let asked = User::is_here().then(|| Arc::clone(&user) as Arc<dyn Elicit>);
        let toolbox = Toolbox::with_user(self.servers, asked).await?;
        let (provider, approver) = (Arc::new(self.client), user);
        let parts = Parts { provider, toolbox, settings, approver, conversation, transcript };
        let fixed_models = self.routes.targets().iter().all(|target| target.params.model.is_some());
        Ok(Built { agent: Agent::new(parts), fixed_models })
    }
}

/// husk's own server, in a process of its own.
fn husk(forwarded: Vec<OsString>) -> Wanted {
    let args = forwarded.into_iter().map(|flag| flag.to_string_lossy().into_owned()).collect();
    let way = Way::Stdio {
        command: jail::own_binary(),
        args,
        env: std::collections::BTreeMap::new(),
        folder: None,
    };
    Wanted { name: "husk".to_owned(), way }
}

/// The routes of a file, of the flags, or of what this machine has a key for.
fn routes(flags: &Flags, folder: Option<&Path>) -> Result<Routes, BadInput> {
    let usual = folder.map(|folder| folder.join("routes.json")).filter(|file| file.is_file());
    let by_flags = flags.provider.is_some() || flags.url.is_some();
    let file = flags.routes.clone().or(usual.filter(|_| !by_flags));
    let json = match file {
        Some(file) => read(&file)?,
        None => single(flags)?,
    };
    Routes::read(&json).map_err(|faults| BadInput::new(LlmError::Routes(faults)))
}

fn read(file: &Path) -> Result<Value, BadInput> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| BadInput::new(LlmError::File { file: file.to_owned(), source }))?;
    serde_json::from_str(&text)
        .map_err(|error| BadInput::new(format!("`{}` is not JSON: {error}", file.display())))
}

/// Routes to one target.
fn single(flags: &Flags) -> Result<Value, BadInput> {
    let named = flags.provider.map(super::flags::Provider::word);
    let told = || flags.model.as_deref().and_then(Kind::of_model).map(Kind::word);
    let mut target = match (named.or_else(told), &flags.model) {
        (Some(provider), Some(_)) => json!({"provider": provider}),
        (Some(provider), None) if provider != "anthropic" => {
            return Err(BadInput::new("name the model that is to be asked: --model NAME"));
        }
        (None, Some(model)) => {
            return Err(BadInput::new(format!(
                "the name `{model}` does not tell its provider; say --provider anthropic, openai, bedrock or bedrock-messages"
            )));
        }
        (None, None) if std::env::var_os("ANTHROPIC_API_KEY").is_none() => {
            return Err(BadInput::new(
                "there is no model to ask: set ANTHROPIC_API_KEY, name one with --model (and --provider, --url), or write routes (--routes FILE; `husk agent route` prints some)",
            ));
        }
        _ => json!({"provider": "anthropic", "override_params": {"model": MODEL}}),
    };
    if let (Some(url), Some(target)) = (&flags.url, target.as_object_mut()) {
        target.insert("custom_host".to_owned(), url.as_str().into());
    }
    Ok(target)
}

fn client(
    flags: &Flags,
    routes: &Routes,
    folder: Option<&Path>,
    config: &Config,
) -> Result<Client, BadInput> {
    let key_file: Option<PathBuf> = flags.keys.clone().or_else(|| Some(folder?.join("keys.toml")));
    let mut prices = Prices::default();
    if let Some(file) = &flags.prices {
        prices = prices.with_file(file).map_err(BadInput::new)?;
    }
    let answers = match config.data_dir() {
        Ok(data) => Answers::in_folder(data.join("answers")),
        Err(_) => Answers::default(),
    };
    let guardrails = flags.guardrail.iter().cloned();
    let guardrails = guardrails.map(|(name, program)| (name, guardrail::hook(program))).collect();
    let prompt_cache = flags.prompt_cache();
    let settings = llm::Settings { prompt_cache, ..llm::Settings::default() };
    let parts = client::Parts { settings, guardrails, key_file, answers, prices };
    Client::new(routes.clone(), parts, &Here).map_err(BadInput::new)
}
