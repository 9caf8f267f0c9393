//! What the store asks of a database, whichever it is: statements with values, and rows.

use std::borrow::Cow;

use tokio::sync::watch;

#[cfg(feature = "postgres")]
use super::postgres::Postgres;
use super::{StoreError, UsageChanges, sqlite::Sqlite, statements::Statements};

/// What stands for `$1`, `$2`, … in a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Maybe(Option<&'a str>),
    Number(u64),
}

/// Whether a statement changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Reads,
    Writes,
}

/// A row's columns, by their place.
pub(super) trait Columns {
    fn text(&self, column: usize) -> Result<String, sqlx::Error>;
    fn maybe(&self, column: usize) -> Result<Option<String>, sqlx::Error>;
    fn truth(&self, column: usize) -> Result<bool, sqlx::Error>;
    fn signed(&self, column: usize) -> Result<i64, sqlx::Error>;

    /// A number of ours; one below zero is none of ours, and counts as nothing.
    fn number(&self, column: usize) -> Result<u64, sqlx::Error> {
        Ok(u64::try_from(self.signed(column)?).unwrap_or(0))
    }
}

/// Columns of a database's rows.
macro_rules! columns_of {
    ($row:ty) => {
        impl $crate::store::engine::Columns for $row {
            fn text(&self, column: usize) -> Result<String, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn maybe(&self, column: usize) -> Result<Option<String>, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn truth(&self, column: usize) -> Result<bool, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }

            fn signed(&self, column: usize) -> Result<i64, sqlx::Error> {
                sqlx::Row::try_get(self, column)
            }
        }
    };
}

/// A statement's values, in a database's own type for them.
macro_rules! bound {
    ($sql:expr, $values:expr) => {
        $values.iter().fold(sqlx::query($sql), |query, value| match value {
            $crate::store::engine::Value::Text(text) => {
                query.bind($crate::store::engine::plain(text))
            }
            $crate::store::engine::Value::Maybe(text) => {
                query.bind(text.map($crate::store::engine::plain))
            }
            $crate::store::engine::Value::Number(number) => {
                query.bind($crate::store::signed(*number))
            }
        })
    };
}

pub(super) use {bound, columns_of};

/// Makes a value of a row.
pub(super) type Read<T> = fn(&dyn Columns) -> Result<T, sqlx::Error>;

/// One of the databases. Clones share its connections.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    Sqlite(Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(Postgres),
}

impl Engine {
    pub(super) fn statements(&self) -> &'static Statements {
        match self {
            Self::Sqlite(_) => &Sqlite::STATEMENTS,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => &Postgres::STATEMENTS,
        }
    }

    pub(super) async fn rows<T: Send + Unpin>(
        &self,
        access: Access,
        sql: &'static str,
        values: &[Value<'_>],
        read: Read<T>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(base) => base.rows(access, sql, values, read).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(base) => base.rows(access, sql, values, read).await,
        }
    }

    /// Makes a change; of how many rows.
    pub(super) async fn change(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
    ) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(base) => base.change(sql, values).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(base) => base.change(sql, values).await,
        }
    }

    /// Writes everything in one transaction, or nothing of it.
    pub(super) async fn add(&self, changes: &UsageChanges) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(base) => base.add(changes).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(base) => base.add(changes).await,
        }
    }

    pub(super) fn commits(&self) -> watch::Receiver<u64> {
        match self {
            Self::Sqlite(base) => base.commits(),
            #[cfg(feature = "postgres")]
            Self::Postgres(base) => base.commits(),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(base) => base.close().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(base) => base.close().await,
        }
    }
}

/// A text as both databases take it: PostgreSQL knows none with a NUL in it.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}").into(),
        false => text.into(),
    }
}
