//! Who counts for servers side by side, from the settings.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{AppError, registry::Opened};
use crate::{
    config::Config,
    guard::shared::{
        Carrier, Shared,
        counter::{self, Counter},
    },
    jail,
    replica::InStore,
};

/// How long telling the ends of calls may hold up that of the server.
const LAST_ENDS: Duration = Duration::from_secs(2);

/// Why nobody counts for all servers.
#[derive(Debug, thiserror::Error)]
pub enum NotShared {
    /// Two are to.
    #[error(
        "both `shared.redis_url` and `shared.store` are set; one of them counts for all servers"
    )]
    Both,
    /// The store is a file of this machine.
    #[error("`shared.store` needs `store.url`: a file of this machine counts for no other")]
    NoStore,
    /// It cannot be tried.
    #[cfg(feature = "redis")]
    #[error("cannot reach the Redis of `shared.redis_url`; correct it, or `shared.redis_ca`")]
    Redis(#[source] crate::redis_client::ClientError),
}

/// What servers count together, and the task that tells it; its owner closes it when no call is under way.
pub(super) struct Together {
    pub(super) shared: Option<Arc<Shared>>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Together {
    pub(super) fn open(config: &Config, opened: &Opened) -> Result<Self, AppError> {
        let stop = CancellationToken::new();
        let Some(counter) = counter(config, opened).map_err(AppError::Shared)? else {
            return Ok(Self { shared: None, stop, task: None });
        };
        let settings = &config.shared;
        let host = || format!("{}, process {}", jail::host_name(), std::process::id());
        let server = config.http.advertise.clone().unwrap_or_else(host);
        let (shared, carrier): (_, Carrier) = Shared::new(
            &server,
            counter,
            settings.on_failure,
            settings.patience(),
            config.limits.clone(),
        );
        let task = tokio::spawn(carrier.run(stop.clone()));
        Ok(Self { shared: Some(shared), stop, task: Some(task) })
    }

    /// Tells what is left to be told.
    pub(super) async fn close(self) {
        if let Some(shared) = &self.shared {
            let tasks = shared.tasks();
            tasks.close();
            if timeout(LAST_ENDS, tasks.wait()).await.is_err() {
                tracing::warn!(
                    "other servers do not learn how the last calls with a key have ended"
                );
            }
        }
        self.stop.cancel();
        if let Some(task) = self.task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that tells what calls have cost broke");
        }
    }
}

/// Asks who counts for all servers something: who it is, if anybody is to.
///
/// # Errors
/// [`NotShared`], or that nobody answers.
pub async fn answers(
    config: &Config,
    opened: &Opened,
) -> Result<Option<String>, Box<dyn std::error::Error>> {
    let Some(counter) = counter(config, opened)? else { return Ok(None) };
    let asked = timeout(config.shared.patience(), counter.look(counter::user(""))).await;
    asked.map_err(|_| format!("no answer in {} s (`shared.timeout`)", config.shared.timeout))??;
    let url = config.shared.redis_url.as_ref().map(ToString::to_string);
    Ok(Some(url.unwrap_or_else(|| "the store".to_owned())))
}

fn counter(config: &Config, opened: &Opened) -> Result<Option<Arc<dyn Counter>>, NotShared> {
    let settings = &config.shared;
    match (&settings.redis_url, settings.store) {
        (Some(_), true) => Err(NotShared::Both),
        (None, false) => Ok(None),
        (None, true) if config.store.url.is_none() => Err(NotShared::NoStore),
        (None, true) => {
            let opened = opened.clone();
            let open = Box::new(move || -> crate::replica::Asked {
                let opened = opened.clone();
                Box::pin(async move { opened.get().await.cloned() })
            });
            Ok(Some(Arc::new(InStore::new(open, &config.limits))))
        }
        #[cfg(feature = "redis")]
        (Some(url), false) => {
            let (ca, patience) = (settings.redis_ca.as_deref(), settings.patience());
            let counter = crate::replica::InRedis::new(url, ca, patience, &config.limits);
            Ok(Some(Arc::new(counter.map_err(NotShared::Redis)?)))
        }
        // A fault of the settings.
        #[cfg(not(feature = "redis"))]
        (Some(_), false) => Ok(None),
    }
}
