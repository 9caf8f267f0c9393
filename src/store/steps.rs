//! What brings tables up to date: steps that only go forward. One that was released never changes.

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, MigrationType, Migrator},
};

/// A step's version, its name and what it does.
pub(super) type Step = (i64, &'static str, &'static str);

/// The last version.
pub(super) fn newest(steps: &[Step]) -> i64 {
    steps.iter().map(|(version, ..)| *version).max().unwrap_or_default()
}

/// The steps, to be run.
pub(super) fn migrator(steps: &[Step]) -> Migrator {
    let step = |(version, name, sql): &Step| {
        Migration::new(*version, (*name).into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(steps.iter().map(step).collect())
}
