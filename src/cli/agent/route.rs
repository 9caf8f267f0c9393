//! `husk agent route`: prints the usual trees over Anthropic and Bedrock as JSON.

use std::process::ExitCode;

use super::{BadInput, Outcome, show};
use crate::llm::route::{
    Routes,
    build::{self, Wanted},
};

/// Arguments of `husk agent route`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For whom: the first eight characters are in the name of the routes
    #[arg(long, value_name = "ID")]
    user: String,
    /// Who is asked first
    #[arg(long, value_name = "PROVIDER", required_unless_present = "share")]
    primary: Option<Primary>,
    /// Share the calls instead: Anthropic's share, 0 to 1
    #[arg(long, value_name = "SHARE", conflicts_with = "primary")]
    share: Option<f64>,
    /// Name of Anthropic's key
    #[arg(long, value_name = "NAME", default_value = "anthropic")]
    anthropic_key: String,
    /// Name of Bedrock's key
    #[arg(long, value_name = "NAME", default_value = "bedrock")]
    bedrock_key: String,
    /// Model that is asked first
    #[arg(long, value_name = "MODEL", default_value = "claude-sonnet-4-5-20250929")]
    model: String,
    /// Model that is asked after it
    #[arg(long, value_name = "MODEL", default_value = "claude-sonnet-4-20250514")]
    fallback_model: String,
    /// Hook that judges answers; can be given again
    #[arg(long, value_name = "NAME")]
    guardrail: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Primary {
    Anthropic,
    Bedrock,
}

pub(super) fn run(args: &Args) -> Outcome {
    let wanted = Wanted {
        user_id: &args.user,
        anthropic_key: &args.anthropic_key,
        bedrock_key: &args.bedrock_key,
        primary_model: &args.model,
        fallback_model: &args.fallback_model,
    };
    let routes = match (args.share, args.primary) {
        (Some(share), _) => {
            let mut routes = build::loadbalanced_config(&wanted, share);
            let config = routes.get_mut("config").and_then(serde_json::Value::as_object_mut);
            if let Some(config) = config.filter(|_| !args.guardrail.is_empty()) {
                let hooks = args.guardrail.clone().into();
                config.insert("output_guardrails".to_owned(), hooks);
            }
            routes
        }
        (None, Some(Primary::Bedrock)) => {
            build::fallback_config(&wanted, build::Primary::Bedrock, &args.guardrail)
        }
        (None, _) => build::fallback_config(&wanted, build::Primary::Anthropic, &args.guardrail),
    };
    // What is printed can be read again, or is not printed.
    if let Err(faults) = Routes::read(&routes) {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        return Err(BadInput::new(faults.join("; ")).into());
    }
    show::print(&format!("{}\n", serde_json::to_string_pretty(&routes)?));
    Ok(ExitCode::SUCCESS)
}
