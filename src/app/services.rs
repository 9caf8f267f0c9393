//! What gives kernels more than their program, from the settings: accounts at Redis.

use std::sync::Arc;

use super::AppError;
use crate::{config::Config, jail, sandbox::service::Service};

/// All of them; their owner closes them when no kernel is left.
#[derive(Default)]
pub struct Services {
    #[cfg(feature = "redis")]
    desk: Option<crate::tenant::lender::Desk>,
}

impl Services {
    pub(super) fn open(config: &Config) -> Result<Self, AppError> {
        #[cfg(feature = "redis")]
        return Ok(Self {
            desk: crate::tenant::lender::Desk::open(&config.tenant).map_err(AppError::Tenant)?,
        });
        #[cfg(not(feature = "redis"))]
        {
            // A Redis that is named without it is a fault of the settings.
            let _ = config;
            Ok(Self::default())
        }
    }

    /// What that user's kernels get.
    pub(super) fn of(&self, user: &str) -> Vec<Arc<dyn Service>> {
        #[cfg(feature = "redis")]
        return self.desk.iter().map(|desk| desk.service(user)).collect();
        #[cfg(not(feature = "redis"))]
        {
            let _ = user;
            Vec::new()
        }
    }

    /// The user of a server that asks nobody: this one of this machine, for Redis may have others.
    pub(super) fn of_this_user(&self) -> Vec<Arc<dyn Service>> {
        self.of(&format!("local:{}:{}", jail::host_name(), jail::user_id()))
    }

    /// Takes back what kernels had that have ended.
    pub async fn close(self) {
        #[cfg(feature = "redis")]
        if let Some(desk) = self.desk {
            desk.close().await;
        }
    }
}
