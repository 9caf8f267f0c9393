//! A target that can be asked: its address and its key are found, and its health is known.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    bedrock::{self, credentials, signature::Signer},
    keys::Keys,
    route::{Fault, Kind, Target},
};
use crate::{
    base::secret::Secret,
    guard::breaker::{
        self,
        heart::{Breaker, Permit, Refusal, Verdict},
    },
};

/// Bedrock's region where none is named anywhere: that of the model ids that begin with `us.`.
const REGION: &str = "us-east-1";

/// How a target knows who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// It does not want to know: a server of one's own.
    None,
    ApiKey(Secret),
    Bearer(Secret),
    Signed(Signer),
}

/// A target, ready.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) target: Target,
    pub(super) access: Access,
    base: String,
    pub(super) health: Guarded,
    /// Whether it can still stream: opens after repeated overloads and breaks.
    pub(super) streaming: Guarded,
}

impl Endpoint {
    /// Finds what a target needs.
    ///
    /// # Errors
    /// What is missing, and where it could be.
    pub(super) fn new(
        target: Target,
        keys: &Keys<'_>,
        health: &breaker::Settings,
    ) -> Result<Self, Fault> {
        let (access, region) = access(&target, keys)
            .map_err(|what| Fault { at: format!("target `{}`", target.name), what })?;
        let base = target.host.clone().unwrap_or_else(|| usual(target.kind, &region));
        let streaming = Guarded::new(health.clone());
        Ok(Self { target, access, base, health: Guarded::new(health.clone()), streaming })
    }

    /// Whether it is its provider's own server.
    pub(super) fn is_usual(&self) -> bool {
        self.target.host.is_none()
    }

    /// The address that asks this model.
    pub(super) fn url(&self, model: &str, stream: bool) -> String {
        let base = &self.base;
        let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        match self.target.kind {
            Kind::Anthropic if base.ends_with("/v1") => format!("{base}/messages"),
            Kind::Anthropic => format!("{base}/v1/messages"),
            Kind::OpenAi if has_path => format!("{base}/chat/completions"),
            Kind::OpenAi => format!("{base}/v1/chat/completions"),
            Kind::Bedrock => format!("{base}{}", bedrock::path(model, stream)),
            Kind::BedrockMessages => format!("{base}/anthropic/v1/messages"),
        }
    }
}

/// A provider's own server.
fn usual(kind: Kind, region: &str) -> String {
    match kind {
        Kind::Anthropic => "https://api.anthropic.com".to_owned(),
        Kind::OpenAi => "https://api.openai.com/v1".to_owned(),
        Kind::Bedrock | Kind::BedrockMessages => {
            format!("https://bedrock-runtime.{region}.amazonaws.com")
        }
    }
}

/// The access to a target, and the region where it has one.
fn access(target: &Target, keys: &Keys<'_>) -> Result<(Access, String), String> {
    let named = match &target.virtual_key {
        Some(name) => Some(keys.find(name).map_err(|error| error.to_string())?),
        None => None,
    };
    let set =
        |name: &str| keys.here().variable(name).filter(|key| !key.is_empty()).map(Secret::new);
    let own = |variable: &str, access: fn(Secret) -> Access| match named
        .clone()
        .or_else(|| set(variable))
    {
        Some(key) => Ok((access(key), String::new())),
        None if target.host.is_some() => Ok((Access::None, String::new())),
        None => Err(format!("has no key: set {variable}, or name one with virtual_key")),
    };
    match target.kind {
        Kind::Anthropic => own("ANTHROPIC_API_KEY", Access::ApiKey),
        Kind::OpenAi => own("OPENAI_API_KEY", Access::Bearer),
        Kind::Bedrock | Kind::BedrockMessages => of_aws(target, named, keys),
    }
}

fn of_aws(
    target: &Target,
    named: Option<Secret>,
    keys: &Keys<'_>,
) -> Result<(Access, String), String> {
    let here = keys.here();
    let read = |path: &PathBuf| here.file(path).ok().flatten();
    let found = credentials::find(&|name| here.variable(name), &read);
    let region = target.region.clone().or(found.region).unwrap_or_else(|| REGION.to_owned());
    let mantle = target.host.as_deref().is_some_and(|host| host.contains("://bedrock-mantle"));
    let service = if mantle { "bedrock-mantle" } else { "bedrock" };
    let signed = |identity| Access::Signed(Signer { identity, region: region.clone(), service });
    let access = match named.or(found.bearer) {
        Some(key) => match credentials::of_key(&key) {
            Some(identity) => signed(identity),
            None => Access::Bearer(key),
        },
        None => match found.identity {
            Some(identity) => signed(identity),
            None if target.host.is_some() => Access::None,
            None => {
                return Err(format!(
                    "has no key: name one with virtual_key, set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profile `{}` holds none; `aws configure export-credentials --format env` writes them)",
                    found.profile
                ));
            }
        },
    };
    Ok((access, region))
}

/// A breaker behind a lock that is never held across a wait.
#[derive(Debug)]
pub(super) struct Guarded {
    settings: breaker::Settings,
    breaker: Mutex<Breaker>,
}

impl Guarded {
    fn new(settings: breaker::Settings) -> Self {
        Self { settings, breaker: Mutex::default() }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an attempt through, or not. What is dropped without a verdict says nothing.
    pub(super) fn admit(&self) -> Result<Ticket<'_>, Refusal> {
        let permit = self.breaker().admit(Instant::now())?;
        Ok(Ticket { guarded: self, permit: Some(permit) })
    }
}

/// That an attempt is under way.
pub(super) struct Ticket<'a> {
    guarded: &'a Guarded,
    permit: Option<Permit>,
}

impl Ticket<'_> {
    /// What has become of the attempt.
    pub(super) fn record(mut self, verdict: Verdict<'_>) {
        self.settle(verdict);
    }

    fn settle(&mut self, verdict: Verdict<'_>) {
        if let Some(permit) = self.permit.take() {
            let now = Instant::now();
            self.guarded.breaker().record(permit, verdict, &self.guarded.settings, now);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.settle(Verdict::Nothing);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::llm::{keys::tests::Written, route::Routes};

    fn endpoint(
        target: Value,
        variables: &[(&'static str, &'static str)],
    ) -> Result<Endpoint, Fault> {
        let written =
            Written { variables: variables.iter().copied().collect(), ..Written::default() };
        let routes = Routes::read(&target).unwrap();
        let target = routes.targets()[0].clone();
        Endpoint::new(target, &Keys::new(&written, None), &breaker::Settings::default())
    }

    #[test]
    fn addresses_are_those_of_the_providers_or_of_the_host() {
        let check = |kind: &str, host: Option<&str>, expected: &str| {
            let mut target = json!({"provider": kind, "override_params": {"model": "a:0"}});
            if let Some(host) = host {
                target["custom_host"] = json!(host);
            }
            let keys = [
                ("ANTHROPIC_API_KEY", "k"),
                ("OPENAI_API_KEY", "k"),
                ("AWS_BEARER_TOKEN_BEDROCK", "k"),
            ];
            assert_eq!(endpoint(target, &keys).unwrap().url("a:0", true), expected);
        };
        check("anthropic", None, "https://api.anthropic.com/v1/messages");
        check("anthropic", Some("http://h:1/v1/"), "http://h:1/v1/messages");
        check("anthropic", Some("http://h:1/anthropic"), "http://h:1/anthropic/v1/messages");
        check("openai", None, "https://api.openai.com/v1/chat/completions");
        check("openai", Some("http://h:1"), "http://h:1/v1/chat/completions");
        check("openai", Some("http://h:1/x/"), "http://h:1/x/chat/completions");
        let runtime = "https://bedrock-runtime.us-east-1.amazonaws.com";
        check("bedrock", None, &format!("{runtime}/model/a%3A0/invoke-with-response-stream"));
        check("bedrock-messages", None, &format!("{runtime}/anthropic/v1/messages"));
    }

    #[test]
    fn keys_are_found_by_name_or_where_the_provider_keeps_them() {
        let ask = |target: Value, variables: &[(&'static str, &'static str)]| {
            endpoint(target, variables).map(|it| it.access).map_err(|fault| fault.what)
        };
        let secret = |text: &str| Secret::new(text.to_owned());
        let claude = json!({"override_params": {"model": "claude-4"}});
        let own = ask(claude.clone(), &[("ANTHROPIC_API_KEY", "a")]);
        assert_eq!(own, Ok(Access::ApiKey(secret("a"))));
        assert!(ask(claude, &[]).unwrap_err().contains("ANTHROPIC_API_KEY"));
        let named = json!({"virtual_key": "mine", "override_params": {"model": "gpt-5"}});
        let found = ask(named.clone(), &[("OPENAI_API_KEY", "no"), ("HUSK_KEY_MINE", "yes")]);
        assert_eq!(found, Ok(Access::Bearer(secret("yes"))));
        assert!(ask(named, &[("OPENAI_API_KEY", "no")]).unwrap_err().contains("HUSK_KEY_MINE"));
        let local = json!({"provider": "openai", "custom_host": "http://h"});
        assert_eq!(ask(local, &[]), Ok(Access::None));
        let bedrock = json!({"override_params": {"model": "us.anthropic.claude-4-v1:0"}});
        let keys = [
            ("AWS_ACCESS_KEY_ID", "AKIA1"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_REGION", "eu-west-1"),
        ];
        let Ok(Access::Signed(signer)) = ask(bedrock.clone(), &keys) else { panic!() };
        assert_eq!((signer.region.as_str(), signer.service), ("eu-west-1", "bedrock"));
        assert!(ask(bedrock, &[]).unwrap_err().contains("AWS_BEARER_TOKEN_BEDROCK"));
    }

    #[test]
    fn an_attempt_that_is_given_up_says_nothing() {
        let guarded = Guarded::new(breaker::Settings {
            consecutive_faults: 1,
            ..breaker::Settings::default()
        });
        drop(guarded.admit());
        assert!(guarded.admit().is_ok());
        guarded.admit().ok().unwrap().record(Verdict::Fault("x"));
        assert!(guarded.admit().is_err());
    }
}
