//! The gateway where kernels run, from the settings; and which other settings can then not be obeyed.

use std::{path::Path, sync::Arc};

use super::AppError;
use crate::{
    config::Config,
    jail::{self, settings::Isolation},
    kernel::gateway::Gateway,
    sandbox::{remote::Provisioner, servers::NoServer},
    tls::{self, TlsError},
};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoGateway {
    /// husk would seem to isolate what it cannot.
    #[error(
        "husk cannot isolate kernels at a gateway: what keeps cells apart there is the gateway's business. \
         Say that you know it, with `sandbox.isolation = \"none\"` (HUSK_SANDBOX_ISOLATION=none); or leave \
         out `gateway.url`"
    )]
    Isolation,
    /// Other settings promise what cannot be kept there.
    #[error(
        "{} cannot be obeyed for kernels at a gateway: set it up at the gateway, and leave it out here",
        .0.join(", ")
    )]
    Unheeded(Vec<String>),
    /// It cannot be spoken to.
    #[error("cannot speak to it over TLS (setting `gateway.ca`)")]
    Tls(#[source] TlsError),
    /// Its kernels cannot be written down.
    #[error(transparent)]
    Ledger(NoServer),
}

/// The gateway of the settings; none where they name none.
///
/// # Errors
/// [`AppError::Gateway`], where it cannot be used with those settings.
pub fn open(config: &Config) -> Result<Option<Arc<Provisioner>>, AppError> {
    let data = config.data_dir().map_err(AppError::Data)?;
    opened(config, &data).map_err(AppError::Gateway)
}

fn opened(config: &Config, data: &Path) -> Result<Option<Arc<Provisioner>>, NoGateway> {
    let Some(gateway) = Gateway::of(&config.gateway, tls::connector).map_err(NoGateway::Tls)?
    else {
        return Ok(None);
    };
    if config.sandbox.isolation != Isolation::None {
        return Err(NoGateway::Isolation);
    }
    let unheeded = unheeded(config);
    if !unheeded.is_empty() {
        return Err(NoGateway::Unheeded(unheeded));
    }
    Provisioner::new(gateway, data).map(Some).map_err(NoGateway::Ledger)
}

/// The settings that say how kernels of this machine are held, where they say more than the default.
fn unheeded(config: &Config) -> Vec<String> {
    let default = jail::Settings { isolation: Isolation::None, ..jail::Settings::default() };
    let members = |settings: &jail::Settings| match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let default = members(&default);
    let said =
        members(&config.sandbox).into_iter().filter(|(key, value)| default.get(key) != Some(value));
    let mut keys: Vec<String> = said.map(|(key, _)| format!("`sandbox.{key}`")).collect();
    // An account is a variable of the kernel's, and variables are not sent.
    if config.tenant.redis_url.is_some() {
        keys.push("`tenant.redis_url`".to_owned());
    }
    // Each server has kernels of its own there: a session is not the same on all.
    if config.store.url.is_some() {
        keys.push("`store.url`".to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::Address;

    #[test]
    fn settings_that_cannot_be_obeyed_are_told_and_not_passed_over() {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let refusal =
            |config: &Config| opened(config, data.path()).err().map(|why| why.to_string());
        config.sandbox.pids = 7;
        assert_eq!(refusal(&config), None, "there is no gateway");
        config.gateway.url = Some(Address::new("http://127.0.0.1:9".to_owned()));
        assert!(refusal(&config).unwrap().contains("`sandbox.isolation = \"none\"`"));
        config.sandbox.isolation = Isolation::None;
        config.sandbox.memory_bytes = Some(1 << 30);
        config.tenant.redis_url = Some(Address::new("redis://db".to_owned()));
        let told = refusal(&config).unwrap();
        let expected =
            "`sandbox.memory_bytes`, `sandbox.pids`, `tenant.redis_url` cannot be obeyed";
        assert!(told.starts_with(expected), "{told}");
        config.sandbox = jail::Settings { isolation: Isolation::None, ..jail::Settings::default() };
        config.tenant.redis_url = None;
        assert_eq!(refusal(&config), None);
    }
}
