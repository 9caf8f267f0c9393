//! How sessions are kept for later servers, and what is done about those of earlier ones.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::task::JoinHandle;

use super::{AppError, ledger, registry::Opened};
use crate::{
    config::Config,
    jail,
    sandbox::{
        Keeping, reaper, servers,
        tenancy::{Pace, Tenancy},
    },
    store,
};

/// How named sessions are kept. A server that cannot keep them says so with each of them.
pub(super) fn keeping(config: &Config, data: &Path, opened: &Opened) -> Result<Keeping, AppError> {
    config.store.can_be_used().map_err(AppError::Store)?;
    let tenancy = match server(config, data) {
        Ok(server) => Ok(Tenancy::new(Arc::new(opened.clone()), server, Pace::default())),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "sessions are not kept");
            Err(error.to_string().into())
        }
    };
    let keep_alive = Duration::from_secs_f64(config.sessions.keep_alive);
    Ok(Keeping { tenancy, keep_alive, shared: config.store.url.is_some() })
}

/// This server among the others, which may be on other machines.
fn server(config: &Config, data: &Path) -> Result<servers::Server, servers::NoServer> {
    if config.store.url.is_none() {
        return servers::Server::open(data);
    }
    let site = servers::Site::of(data, &jail::host_name())?;
    servers::Server::open_at(data, site, config.http.advertise.clone())
}

/// What is written down of all servers' sessions, for who looks at it; nothing where there is nothing.
///
/// # Errors
/// [`AppError::Data`], [`AppError::Server`].
pub fn tenancy(config: &Config) -> Result<Option<Tenancy>, AppError> {
    let data = config.data_dir().map_err(AppError::Data)?;
    if config.store.url.is_none() && !data.join(store::FILE).exists() {
        return Ok(None);
    }
    let server = server(config, &data).map_err(AppError::Server)?;
    let opened = Opened::new(data, config.store.clone());
    Ok(Some(Tenancy::new(Arc::new(opened), server, Pace::default())))
}

/// Ends what servers that were killed have left, in the background: no host waits for that.
pub(super) fn sweeper(config: &Config, keeping: Keeping) -> JoinHandle<()> {
    let most = config.cells.max_sessions;
    tokio::spawn(async move {
        let Ok(tenancy) = keeping.tenancy else { return };
        let mut failed = 0;
        while let Err(error) = reaper::sweep(&tenancy, most).await {
            if failed == 0 {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "what earlier servers have left is not looked for");
            }
            if !error.passes {
                return;
            }
            tokio::time::sleep(ledger::FLUSHES.delay(failed, 0.5)).await;
            failed += 1;
        }
    })
}
