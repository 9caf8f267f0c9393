//! Fills what the sandbox needs of a store ([`Registry`]) with husk's own.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{OnceCell, watch};

use crate::{
    base::ids::SessionName,
    jail,
    sandbox::{
        registry::{Answer, Entry, Key, Registry, RegistryError},
        state::tenure::{self, RETRIES, Refused, Stage, Step, Tenure, Terms, millis},
    },
    store::{self, SessionClaim, SessionHeld, SessionRow, SessionStep, Store, StoreError},
};

/// The store, opened when it is first asked for: a host that waits for its server does not wait for a
/// disk. Clones are one.
#[derive(Clone)]
pub struct Opened {
    folder: PathBuf,
    settings: store::Settings,
    store: Arc<OnceCell<Result<Store, Arc<StoreError>>>>,
}

impl Opened {
    /// The store of those settings, or else in that folder.
    #[must_use]
    pub fn new(folder: PathBuf, settings: store::Settings) -> Self {
        Self { folder, settings, store: Arc::default() }
    }

    /// The store; what is wrong with it is found out once, unless it may pass.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self) -> Result<&Store, Arc<StoreError>> {
        let open = async || {
            let opened = Store::open(&self.folder, jail::network_file_system, &self.settings).await;
            match opened.map_err(Arc::new) {
                Err(error) if error.passes() => Err(error),
                opened => Ok(opened),
            }
        };
        self.store.get_or_try_init(open).await?.as_ref().map_err(Arc::clone)
    }

    /// Closes it, if it was opened.
    pub async fn close(&self) {
        if let Some(Ok(store)) = self.store.get() {
            store.close().await;
        }
    }

    async fn sessions(&self) -> Result<&Store, RegistryError> {
        let failed =
            |error: Arc<StoreError>| RegistryError { passes: error.passes(), cause: error };
        self.get().await.map_err(failed)
    }
}

fn failed(error: StoreError) -> RegistryError {
    RegistryError { passes: error.passes(), cause: Arc::new(error) }
}

impl Registry for Opened {
    fn claim<'a>(
        &'a self,
        key: &'a Key,
        terms: &'a Terms,
    ) -> Answer<'a, Result<Tenure, (Tenure, Refused)>> {
        Box::pin(async move {
            let claim = SessionClaim {
                workspace: &key.workspace,
                name: key.name.as_str(),
                holder: &terms.holder,
                lease: millis(terms.lease),
                dead: terms.dead.as_deref(),
                retries: RETRIES.retries,
            };
            let claimed = self.sessions().await?.claim_session(claim).await.map_err(failed)?;
            Ok(claimed.map(|row| tenure_of(&row)).map_err(|row| {
                let tenure = tenure_of(&row);
                let refused = tenure.claimable(row.now, terms.dead.as_deref());
                (tenure, refused.err().unwrap_or(Refused::Held))
            }))
        })
    }

    fn step<'a>(
        &'a self,
        key: &'a Key,
        holder: &'a str,
        epoch: u64,
        attempts: u32,
        step: &'a Step,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let (workspace, name) = (key.workspace.as_str(), key.name.as_str());
            let held = SessionHeld { workspace, name, holder, epoch };
            let step = match step {
                Step::Placed(place) => SessionStep::Placed(place),
                Step::Ready { place, generation } => SessionStep::Ready(place, *generation),
                Step::CellBegan(number) => SessionStep::CellBegan(*number),
                Step::CellEnded => SessionStep::CellEnded,
                Step::Failed(why) => SessionStep::Failed(why, millis(tenure::rest(attempts))),
                Step::Gone => SessionStep::Gone,
                Step::StartBegan => SessionStep::StartBegan,
                Step::Left => SessionStep::Left,
                Step::Off => SessionStep::Off,
            };
            self.sessions().await?.step_session(held, step).await.map_err(failed)
        })
    }

    fn renew<'a>(&'a self, holder: &'a str, lease: Duration) -> Answer<'a, Vec<(Key, u64)>> {
        Box::pin(async move {
            let store = self.sessions().await?;
            let rows = store.renew_sessions(holder, millis(lease)).await.map_err(failed)?;
            Ok(rows.iter().filter_map(|row| Some((key_of(row)?, row.epoch))).collect())
        })
    }

    fn find<'a>(&'a self, key: &'a Key) -> Answer<'a, Option<(Tenure, u64)>> {
        Box::pin(async move {
            let store = self.sessions().await?;
            let row = store.session(&key.workspace, key.name.as_str()).await.map_err(failed)?;
            Ok(row.map(|row| (tenure_of(&row), row.now)))
        })
    }

    fn all(&self) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            let rows = self.sessions().await?.sessions().await.map_err(failed)?;
            let entry = |row: &SessionRow| {
                let untouched = Duration::from_millis(row.now.saturating_sub(row.touched));
                Some(Entry { key: key_of(row)?, tenure: tenure_of(row), untouched })
            };
            Ok(rows.iter().filter_map(entry).collect())
        })
    }

    fn forget(&self, age: Duration) -> Answer<'_, ()> {
        Box::pin(async move {
            self.sessions().await?.forget_sessions(millis(age)).await.map_err(failed)?;
            Ok(())
        })
    }

    fn changes(&self) -> Answer<'_, watch::Receiver<u64>> {
        Box::pin(async move { Ok(self.sessions().await?.commits()) })
    }
}

/// A name that husk would not give is none of its own.
fn key_of(row: &SessionRow) -> Option<Key> {
    Some(Key { workspace: row.workspace.clone(), name: SessionName::new(&row.name).ok()? })
}

fn tenure_of(row: &SessionRow) -> Tenure {
    Tenure {
        stage: Stage::of(&row.stage).unwrap_or_default(),
        was: Stage::of(&row.was).unwrap_or_default(),
        epoch: row.epoch,
        holder: row.holder.clone(),
        lease_until: row.lease_until,
        generation: row.generation,
        cells: row.cells,
        place: row.place.clone(),
        error: row.error.clone(),
        attempts: row.attempts,
        retry_at: row.retry_at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::Home;

    /// Long enough for a test; or over as soon as the clock ticks.
    const LEASES: [Duration; 2] = [Duration::from_secs(3600), Duration::ZERO];

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Placed("p".into())),
            (0..9u64).prop_map(|generation| Step::Ready { place: "r".into(), generation }),
            (0..99u64).prop_map(Step::CellBegan),
            Just(Step::CellEnded),
            Just(Step::Failed("why".into())),
            Just(Step::Gone),
            Just(Step::StartBegan),
            Just(Step::Left),
            Just(Step::Off),
        ]
    }

    /// A claim (with a short lease, knowing of a dead holder), or a step under the last claim or an
    /// older one.
    #[derive(Debug, Clone)]
    enum Deed {
        Claim { who: usize, short: bool, dead: Option<usize> },
        Step { who: usize, old: bool, step: Step },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            (0..3usize, any::<bool>(), prop::option::of(0..3usize))
                .prop_map(|(who, short, dead)| Deed::Claim { who, short, dead }),
            (0..3usize, prop::bool::weighted(0.1), step())
                .prop_map(|(who, old, step)| Deed::Step { who, old, step }),
        ]
    }

    /// Times differ by what a statement takes.
    fn timeless(tenure: &Tenure) -> Tenure {
        Tenure { lease_until: 0, retry_at: 0, ..tenure.clone() }
    }

    async fn row(store: &Store) -> Option<SessionRow> {
        store.sessions().await.unwrap().pop()
    }

    async fn compare(home: &Home, deeds: Vec<Deed>) {
        let opened = Opened::new(home.folder().to_owned(), home.settings());
        let store = opened.get().await.unwrap();
        let key = Key { workspace: "/w".into(), name: SessionName::new("s").unwrap() };
        let mut model = Tenure::default();
        for deed in deeds {
            match &deed {
                Deed::Claim { who, short, dead } => {
                    let (holder, dead) = (who.to_string(), dead.map(|dead| dead.to_string()));
                    let terms = Terms { holder, lease: LEASES[usize::from(*short)], dead };
                    let claim = SessionClaim {
                        workspace: &key.workspace,
                        name: key.name.as_str(),
                        holder: &terms.holder,
                        lease: millis(terms.lease),
                        dead: terms.dead.as_deref(),
                        retries: RETRIES.retries,
                    };
                    let claimed = store.claim_session(claim).await.unwrap();
                    let now = claimed.as_ref().unwrap_or_else(|row| row).now;
                    assert_eq!(
                        claimed.is_ok(),
                        model.claim(now, &terms).is_ok(),
                        "{deed:?}: {model:?}"
                    );
                }
                Deed::Step { who, old, step } => {
                    let epoch = model.epoch.saturating_sub(u64::from(*old));
                    let holder = who.to_string();
                    let written =
                        opened.step(&key, &holder, epoch, model.attempts, step).await.unwrap();
                    let told = model.step(0, &holder, epoch, step.clone());
                    assert_eq!(written, told, "{deed:?}: {model:?}");
                }
            }
            let Some(row) = row(store).await else { continue };
            assert_eq!(timeless(&tenure_of(&row)), timeless(&model), "after {deed:?}");
            (model.lease_until, model.retry_at) = (row.lease_until, row.retry_at);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_store_does_what_the_model_says(deeds in prop::collection::vec(deed(), 1..40)) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(compare(&Home::of_a_file(), deeds.clone()));
            #[cfg(feature = "postgres")]
            if let Some(home) = Home::of_a_database() {
                runtime.block_on(compare(&home, deeds));
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_cannot_be_used_is_told_with_its_cause() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("husk.sqlite"), "notes".repeat(500)).unwrap();
        let opened = Opened::new(home.path().to_owned(), store::Settings::default());
        let error = opened.all().await.unwrap_err();
        assert!(error.cause.to_string().contains("is damaged"), "{error:?}");
    }
}
