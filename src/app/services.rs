//! What gives kernels more than their program, from the settings: accounts at Redis, and a gateway where
//! they run.

use std::sync::Arc;

use super::AppError;
#[cfg(feature = "gateway")]
use crate::sandbox::remote::Provisioner;
use crate::{
    config::Config,
    jail,
    sandbox::{launch::Launcher, service::Service},
};

/// All of them; their owner closes them when no kernel is left.
#[derive(Default)]
pub struct Services {
    #[cfg(feature = "redis")]
    desk: Option<crate::tenant::lender::Desk>,
    #[cfg(feature = "gateway")]
    gateway: Option<Arc<Provisioner>>,
}

/// What one user's kernels get.
#[derive(Default)]
pub(super) struct Given {
    services: Vec<Arc<dyn Service>>,
    #[cfg(feature = "gateway")]
    gateway: Option<Arc<Provisioner>>,
}

impl Given {
    /// Those of that launcher get it.
    pub(super) fn to(self, launcher: &mut Launcher) {
        launcher.services = self.services;
        #[cfg(feature = "gateway")]
        {
            launcher.gateway = self.gateway;
        }
    }
}

impl Services {
    pub(super) fn open(config: &Config) -> Result<Self, AppError> {
        // Either that is named without its feature is a fault of the settings.
        let _ = config;
        Ok(Self {
            #[cfg(feature = "redis")]
            desk: crate::tenant::lender::Desk::open(&config.tenant).map_err(AppError::Tenant)?,
            #[cfg(feature = "gateway")]
            gateway: super::gateway::open(config)?,
        })
    }

    /// What that user's kernels get.
    pub(super) fn of(&self, user: &str) -> Given {
        #[cfg(feature = "redis")]
        let services = self.desk.iter().map(|desk| desk.service(user)).collect();
        #[cfg(not(feature = "redis"))]
        let services = {
            let _ = user;
            Vec::new()
        };
        Given {
            services,
            #[cfg(feature = "gateway")]
            gateway: self.gateway.clone(),
        }
    }

    /// The user of a server that asks nobody: this one of this machine, for Redis may have others.
    pub(super) fn of_this_user(&self) -> Given {
        self.of(&format!("local:{}:{}", jail::host_name(), jail::user_id()))
    }

    /// Takes back what kernels had that have ended.
    pub async fn close(self) {
        #[cfg(feature = "redis")]
        if let Some(desk) = self.desk {
            desk.close().await;
        }
        #[cfg(feature = "gateway")]
        if let Some(gateway) = self.gateway {
            gateway.close().await;
        }
    }
}
