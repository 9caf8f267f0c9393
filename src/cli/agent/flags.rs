//! The flags that `ask` and `chat` share.

use std::{path::PathBuf, time::Duration};

use crate::{
    agent::{Settings, approve::Approve, limits::Limits},
    llm::{cache, message::Ttl},
};

/// Flags of `husk agent ask` and `husk agent chat`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Flags {
    /// Routes to models: a JSON file in the shape of Portkey's gateway [default: routes.json in the
    /// folder of husk's settings, if it is there]
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    pub(super) routes: Option<PathBuf>,
    /// Model to ask
    #[arg(long, short, value_name = "NAME", help_heading = "Models")]
    pub(super) model: Option<String>,
    /// Provider of the model, where its name does not tell and there are no routes
    #[arg(long, value_name = "NAME", conflicts_with = "routes", help_heading = "Models")]
    pub(super) provider: Option<Provider>,
    /// Address of the provider, for a server of your own
    #[arg(long, value_name = "URL", conflicts_with = "routes", help_heading = "Models")]
    pub(super) url: Option<String>,
    /// File with keys, one `name = "key"` a line [default: keys.toml in the folder of husk's settings]
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    pub(super) keys: Option<PathBuf>,
    /// File with prices, before those that husk knows
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    pub(super) prices: Option<PathBuf>,
    /// Where the marks go that make a provider keep the beginning of a prompt
    #[arg(long, value_name = "MODE", default_value = "progressive", help_heading = "Models")]
    prompt_cache: Marks,
    /// For how long it keeps tools, system prompt and documents; an hour costs more to write
    #[arg(long, value_name = "TIME", default_value = "5m", help_heading = "Models")]
    prompt_cache_ttl: Keeps,
    /// Program that judges answers under a name that `output_guardrails` of the routes may give: it gets
    /// the answer as JSON over standard input, and objects with an exit code that is not 0, for the
    /// reason that it prints; can be given again
    #[arg(long, value_name = "NAME=PROGRAM", help_heading = "Models", value_parser = guardrail)]
    pub(super) guardrail: Vec<(String, PathBuf)>,
    /// What the model is told before all else, instead of husk's own words
    #[arg(long, value_name = "TEXT", help_heading = "Models")]
    system: Option<String>,
    /// Most tokens of one answer
    #[arg(long, value_name = "TOKENS", help_heading = "Models")]
    answer_tokens: Option<u32>,
    /// 0 for the likeliest words
    #[arg(long, value_name = "NUMBER", help_heading = "Models")]
    temperature: Option<f64>,
    /// Tokens that the model can read; older parts make room in time [default: 180000]
    #[arg(long, value_name = "TOKENS", help_heading = "Models", value_parser = clap::value_parser!(u64).range(1000..))]
    window: Option<u64>,
    /// Tool servers, in the `mcpServers` JSON that hosts use [default: husk itself]
    #[arg(long, value_name = "FILE", help_heading = "Tools")]
    pub(super) mcp_config: Option<PathBuf>,
    /// Which tools run unasked beside those that only read [default: `always` if husk's sandbox is the
    /// only tool server, else `ask`]
    #[arg(long, value_name = "WHICH", help_heading = "Tools")]
    approve: Option<Which>,
    /// Tool that always runs unasked, as the model names it; can be given again
    #[arg(long, value_name = "TOOL", help_heading = "Tools")]
    allow: Vec<String>,
    /// Most seconds of one call [default: 600]
    #[arg(long, value_name = "SECONDS", help_heading = "Tools", value_parser = seconds)]
    call_timeout: Option<Duration>,
    /// Most answers of the model for a prompt [default: 50]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_turns: Option<u32>,
    /// Most calls of tools for a prompt
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_tool_calls: Option<u32>,
    /// Most tokens of the conversation, read and written
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_tokens: Option<u64>,
    /// Most US dollars of the conversation, by husk's prices
    #[arg(long, value_name = "USD", help_heading = "Limits", value_parser = dollars)]
    max_usd: Option<f64>,
    /// Most seconds for a prompt
    #[arg(long, value_name = "SECONDS", help_heading = "Limits", value_parser = seconds)]
    max_time: Option<Duration>,
    /// Write what is said to this file, line by line
    #[arg(long, value_name = "FILE.jsonl", help_heading = "Conversation")]
    pub(super) transcript: Option<PathBuf>,
    /// Go on with the conversation of the transcript
    #[arg(long, requires = "transcript", help_heading = "Conversation")]
    pub(super) resume: bool,
    /// Write a notebook at the end: what was asked and answered, and the cells that ran
    #[arg(long, value_name = "NOTEBOOK.ipynb", help_heading = "Conversation")]
    pub(super) export: Option<PathBuf>,
    /// Save plots in this folder where the terminal cannot show them [default: the current one]
    #[arg(long, value_name = "DIR", help_heading = "Conversation")]
    pub(super) plots: Option<PathBuf>,
}

/// A provider by its word in routes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Provider {
    /// Anthropic's Messages API
    Anthropic,
    /// OpenAI's Chat Completions, and the servers that speak it
    Openai,
    /// Bedrock's `invoke`
    Bedrock,
    /// Bedrock's own Messages endpoint
    BedrockMessages,
}

impl Provider {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Openai => "openai",
            Self::Bedrock => "bedrock",
            Self::BedrockMessages => "bedrock-messages",
        }
    }
}

/// Where prompt-cache marks go.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Marks {
    /// Where the conversation grows: four at most, moved along with it
    Progressive,
    /// By size alone, for comparison
    Seed,
    /// Nowhere
    Off,
}

/// How long a provider keeps what is marked.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Keeps {
    /// Five minutes from its last use
    #[value(name = "5m")]
    FiveMinutes,
    /// An hour from its last use
    #[value(name = "1h")]
    OneHour,
}

/// Which tools run unasked.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// None: you are asked about each call
    Ask,
    /// None, and you are not asked
    Never,
    /// All
    Always,
    /// Those of --allow, and you are not asked
    List,
}

impl Flags {
    /// The agent's settings; `own` says that its only server is husk's sandbox.
    pub(super) fn settings(&self, own: bool) -> Settings {
        let default = Settings::default();
        let approve = match self.approve {
            Some(Which::Ask) => Approve::Ask,
            Some(Which::Never) => Approve::Never,
            Some(Which::Always) => Approve::Always,
            Some(Which::List) => Approve::List,
            None if own => Approve::Always,
            None => Approve::Ask,
        };
        Settings {
            system: self.system.clone().unwrap_or(default.system),
            model: self.model.clone(),
            answer_tokens: self.answer_tokens,
            temperature: self.temperature,
            limits: Limits {
                turns: self.max_turns.unwrap_or(default.limits.turns),
                tool_calls: self.max_tool_calls,
                tokens: self.max_tokens,
                usd: self.max_usd,
                time: self.max_time,
            },
            approve,
            allowed: self.allow.iter().cloned().collect(),
            window: self.window.unwrap_or(default.window),
            call: self.call_timeout.unwrap_or(default.call),
            result_bytes: default.result_bytes,
        }
    }

    /// How prompts are marked.
    pub(super) fn prompt_cache(&self) -> cache::Rules {
        let mode = match self.prompt_cache {
            Marks::Progressive => cache::Mode::Progressive,
            Marks::Seed => cache::Mode::Seed,
            Marks::Off => cache::Mode::Off,
        };
        let fixed = match self.prompt_cache_ttl {
            Keeps::FiveMinutes => Ttl::FiveMinutes,
            Keeps::OneHour => Ttl::OneHour,
        };
        cache::Rules { mode, fixed, ..cache::Rules::default() }
    }
}

fn guardrail(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, program)) if !name.is_empty() && !program.is_empty() => {
            Ok((name.to_owned(), program.into()))
        }
        _ => Err("it must be NAME=PROGRAM".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| "it is no number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("it must be more than 0 seconds".to_owned()),
    }
}

fn dollars(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(usd) if usd > 0.0 && f64::is_finite(usd) => Ok(usd),
        _ => Err("it must be more than 0 dollars".to_owned()),
    }
}
