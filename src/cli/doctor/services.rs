//! What servers share, where the settings name it: each is asked something, as a server would.

use std::path::Path;

use super::{Check, told};
use crate::{
    app::{registry::Opened, shared},
    config::Config,
};

/// All that are named.
pub(super) async fn all(config: &Config, data: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    let opened = Opened::new(data.to_owned(), config.store.clone());
    if let Some(url) = &config.store.url {
        checks.push(match opened.get().await {
            Ok(_) => Check::good("store", format!("{url}: its tables are those of this husk")),
            Err(error) => Check::bad("store", told(&*error), "do what is said here"),
        });
    }
    checks.extend(counts(config, &opened).await);
    #[cfg(feature = "redis")]
    checks.extend(accounts(config).await);
    opened.close().await;
    checks
}

/// Who counts for all servers.
async fn counts(config: &Config, opened: &Opened) -> Option<Check> {
    let mend = "start it, or correct `shared`; until then limits hold as `shared.on_failure` says";
    Some(match shared::answers(config, opened).await {
        Ok(None) => return None,
        Ok(Some(who)) => Check::good("shared limits", format!("{who} counts for all servers")),
        Err(error) => Check::bad("shared limits", told(&*error), mend),
    })
}

/// Where users get accounts.
#[cfg(feature = "redis")]
async fn accounts(config: &Config) -> Option<Check> {
    use crate::tenant::admin::Admin;
    let bad = |error| Check::bad("tenants", told(&error), "do what is said here");
    let admin = match Admin::new(&config.tenant) {
        Ok(admin) => admin?,
        Err(error) => return Some(bad(error)),
    };
    Some(match admin.list().await {
        Ok(all) => Check::good("tenants", format!("Redis knows {} users of husk's", all.len())),
        Err(error) => bad(error),
    })
}
