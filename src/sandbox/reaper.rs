//! What ends without being asked: kernels that nobody uses, or that are too old, and what servers that
//! were killed have left behind.
//!
//! A kernel whose server lives is ended by the task that owns it, at [`due`]; the rest is found at the
//! start of a server ([`sweep`]): by the store, which knows the kernels that were left to be gone on
//! with, and by the run folders, which name their servers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    census::Death,
    left::{self, Place},
    registry::{Entry, RegistryError},
    run_folder,
    servers::Server,
    settings::SessionSettings,
    state::tenure::{Stage, Step, Terms},
    tenancy::Tenancy,
};
use crate::jail;

/// How long a session without a kernel is remembered.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a kernel is ended that is too old.
pub(super) const EXPIRED: &str = "its life-time is over (setting `sessions.max_age`)";
/// Why one is ended that nobody uses.
const UNUSED: &str = "no cell was run in it for too long (setting `sessions.idle_timeout`)";

/// When an idle kernel that began to live at `born` and was used last at `used` is to be ended, and
/// why.
pub(super) fn due(
    settings: &SessionSettings,
    born: Instant,
    used: Instant,
) -> Option<(Instant, &'static str, Death)> {
    let expires = expires(settings, born).map(|at| (at, EXPIRED, Death::Expired));
    let unused = settings.idle_timeout.map(Duration::from_secs_f64);
    let unused = unused.and_then(|time| used.checked_add(time));
    let unused = unused.map(|at| (at, UNUSED, Death::Unused));
    [expires, unused].into_iter().flatten().min_by_key(|(at, ..)| *at)
}

/// When a kernel's life-time is over.
pub(super) fn expires(settings: &SessionSettings, born: Instant) -> Option<Instant> {
    born.checked_add(Duration::from_secs_f64(settings.max_age?))
}

/// Ends what servers of this user that are gone have left behind, except for what may be gone on with:
/// of that, the `most` kernels that were used last.
///
/// # Errors
/// [`RegistryError`]; what is left then is ended by the next sweep.
pub async fn sweep(tenancy: &Tenancy, most: usize) -> Result<(), RegistryError> {
    // What it holds for a moment is not this server's: a session of it waits for that.
    let broom = tenancy.server().beside();
    let broom = broom.map_err(|error| RegistryError { cause: Arc::new(error), passes: false })?;
    let entries = tenancy.registry().all().await?;
    let mut kept: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let place = kernel_of(&entry);
        let elsewhere = place.as_ref().is_some_and(|place| !is_here(tenancy, place));
        if elsewhere || is_had(tenancy, &entry) {
            kept.extend(place.filter(|_| !elsewhere).map(|place| place.run));
            continue;
        }
        let lives = place
            .as_ref()
            .is_some_and(|place| place.init.as_ref().is_some_and(jail::Identity::lives));
        match place {
            Some(place) if lives && kept.len() < most => kept.push(place.run),
            place => put_off(tenancy, &broom, &entry, place).await?,
        }
    }
    let servers = tenancy.server().file();
    for folder in run_folder::all().into_iter().filter(|folder| !kept.contains(folder)) {
        let owner = left::owner(&folder);
        // Those of another data folder are another's to sweep.
        let ours = owner.as_ref().is_some_and(|owner| owner.parent() == servers.parent());
        if ours && !left::is_owned(&folder) {
            tracing::info!(folder = %folder.display(), "ending what a server that is gone has left");
            jail::dismiss(&folder, left::init_of(&folder).as_ref()).await;
        }
    }
    tenancy.server().sweep();
    tenancy.registry().forget(REMEMBERED).await
}

/// The sessions that no server has, and whose kernels run: they wait for the next server.
///
/// # Errors
/// [`RegistryError`].
pub async fn waiting(tenancy: &Tenancy) -> Result<Vec<Entry>, RegistryError> {
    let mut entries = tenancy.registry().all().await?;
    entries.retain(|entry| {
        let place = kernel_of(entry).filter(|place| is_here(tenancy, place));
        !is_had(tenancy, entry) && place.is_some_and(lives)
    });
    Ok(entries)
}

/// Ends the kernel of a session that no server has.
///
/// # Errors
/// [`RegistryError`].
pub async fn stop(tenancy: &Tenancy, entry: &Entry) -> Result<(), RegistryError> {
    put_off(tenancy, tenancy.server(), entry, kernel_of(entry)).await
}

fn kernel_of(entry: &Entry) -> Option<Place> {
    entry.tenure.place.as_deref().and_then(Place::read)
}

/// Whether it is this machine's: what another one has is that one's to end.
fn is_here(tenancy: &Tenancy, place: &Place) -> bool {
    tenancy.server().is_here(place.site.as_ref())
}

fn lives(place: Place) -> bool {
    place.init.as_ref().is_some_and(jail::Identity::lives)
}

/// Whether a server that lives has it.
fn is_had(tenancy: &Tenancy, entry: &Entry) -> bool {
    let holder = entry.tenure.holder.as_deref();
    holder.is_some_and(|holder| !tenancy.server().is_dead(holder))
}

/// A session whose kernel is gone, or goes now.
async fn put_off(
    tenancy: &Tenancy,
    broom: &Server,
    entry: &Entry,
    place: Option<Place>,
) -> Result<(), RegistryError> {
    if matches!(entry.tenure.stage, Stage::Off | Stage::Error) && entry.tenure.holder.is_none() {
        return Ok(());
    }
    let (registry, server) = (tenancy.registry(), broom.name());
    let dead = entry.tenure.holder.clone();
    let terms = Terms { holder: server.to_owned(), lease: Duration::from_secs(20), dead };
    // Somebody else may have been faster.
    let Ok(claimed) = registry.claim(&entry.key, &terms).await? else { return Ok(()) };
    if let Some(place) = place {
        place.dismiss().await;
    }
    let (epoch, attempts) = (claimed.epoch, claimed.attempts);
    registry.step(&entry.key, server, epoch, attempts, &Step::Off).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kernel_is_due_when_it_is_too_old_or_was_not_used_for_too_long() {
        let born = Instant::now();
        let used = born + Duration::from_secs(100);
        let check = |idle_timeout, max_age, expected: Option<(u64, &str)>| {
            let settings = SessionSettings { idle_timeout, max_age, ..SessionSettings::default() };
            let got = due(&settings, born, used).map(|(at, why, _)| ((at - born).as_secs(), why));
            assert_eq!(got, expected, "{settings:?}");
        };
        check(None, None, None);
        check(Some(60.0), None, Some((160, UNUSED)));
        check(Some(60.0), Some(120.0), Some((120, EXPIRED)));
        check(Some(10.0), Some(120.0), Some((110, UNUSED)));
    }
}
