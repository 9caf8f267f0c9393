//! What can be wrong with a database: each with its address (never its password) and a way out.

use std::{io, path::PathBuf, time::Duration};

use sqlx::migrate::MigrateError;

use crate::tls::{Cures, Distrust};

/// What sqlx says of a server that speaks no TLS.
const NO_TLS: &str = "server does not support TLS";
const CURES: Cures = Cures {
    authorities: "`sslrootcert` in `store.url`",
    address: "`store.url`",
    client: "name one with `sslcert` and `sslkey` in `store.url`",
};

/// The database cannot be reached, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nothing answers there, or what does is about to end or to begin.
    #[error("PostgreSQL at `{database}` cannot be reached; once it can, husk goes on by itself")]
    Unreachable {
        /// Its address.
        database: String,
        /// Why.
        source: sqlx::Error,
    },
    /// It takes too long.
    #[error(
        "PostgreSQL at `{database}` has not answered within {} s (setting `store.timeout`); once it does, husk goes on by itself",
        .waited.as_secs_f32()
    )]
    Late {
        /// Its address.
        database: String,
        /// How long husk waited.
        waited: Duration,
    },
    /// There is no TLS: one of the two does not trust the other.
    #[error("PostgreSQL at `{database}` {}", .why.told(&CURES))]
    Untrusted {
        /// Its address.
        database: String,
        /// Why.
        why: Distrust,
        /// The cause.
        source: sqlx::Error,
    },
    /// The address names a file that cannot be read.
    #[error(
        "cannot read `{}`, which `{parameter}` in `store.url` names; give the whole path of a PEM file",
        path.display()
    )]
    File {
        /// In the address.
        parameter: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is set cannot be used for TLS.
    #[error(
        "TLS to PostgreSQL at `{database}` cannot be set up; look at `sslrootcert`, `sslcert` and `sslkey` in `store.url`"
    )]
    Setup {
        /// Its address.
        database: String,
        /// What is wrong.
        source: sqlx::Error,
    },
    /// It lets nobody in under that name.
    #[error(
        "PostgreSQL at `{database}` does not let husk in; mend its user, password, database or certificate (`sslcert`, `sslkey`) in `store.url`"
    )]
    Refused {
        /// Its address.
        database: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// The user may not do that.
    #[error(
        "husk's user may not make or change tables at `{database}`; give it a database of its own (createdb -O USER husk)"
    )]
    NoRights {
        /// Its address.
        database: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// It is a standby.
    #[error("`{database}` can only be read; name the primary in `store.url`")]
    ReadOnly {
        /// Its address.
        database: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// There is no room.
    #[error("no room to write at `{database}`; free some on the disk of PostgreSQL")]
    Full {
        /// Its address.
        database: String,
        /// What it says.
        source: sqlx::Error,
    },
    /// A later husk has changed it.
    #[error(
        "the tables at `{database}` were brought to version {version} by a later husk, and this one knows {known}; start that one"
    )]
    Newer {
        /// Its address.
        database: String,
        /// The version of its tables.
        version: i64,
        /// The last version known here.
        known: i64,
    },
    /// Its tables are not those of any released husk.
    #[error(
        "the tables at `{database}` are not those that husk makes; give husk a database of its own"
    )]
    Foreign {
        /// Its address.
        database: String,
        /// What differs.
        source: MigrateError,
    },
    /// It was closed.
    #[error("`{database}` is closed already: this server is ending")]
    Closed {
        /// Its address.
        database: String,
    },
    /// Anything else that PostgreSQL reports.
    #[error("PostgreSQL at `{database}` refuses what husk asks")]
    Other {
        /// Its address.
        database: String,
        /// What it says.
        source: sqlx::Error,
    },
}

impl PostgresError {
    /// Whether it may be over when the same is tried again.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Late { .. }
            | Self::Untrusted { .. }
            | Self::File { .. }
            | Self::Setup { .. }
            | Self::Refused { .. }
            | Self::NoRights { .. }
            | Self::ReadOnly { .. }
            | Self::Full { .. } => true,
            Self::Newer { .. }
            | Self::Foreign { .. }
            | Self::Closed { .. }
            | Self::Other { .. } => false,
        }
    }

    /// Whether nobody answers now, so that nothing was said about what was asked.
    pub(super) fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// What a statement's failure means; husk has waited for so long.
    pub(super) fn of(database: &str, waited: Duration, source: sqlx::Error) -> Self {
        let database = database.to_owned();
        match &source {
            sqlx::Error::PoolTimedOut => return Self::Late { database, waited },
            sqlx::Error::PoolClosed => return Self::Closed { database },
            sqlx::Error::Database(_) => {}
            sqlx::Error::Io(error) => {
                return match Distrust::of(error) {
                    Some(why) => Self::Untrusted { database, why, source },
                    None => Self::Unreachable { database, source },
                };
            }
            // sqlx has no other word for it.
            sqlx::Error::Tls(error) if error.to_string() == NO_TLS => {
                return Self::Untrusted { database, why: Distrust::NoTls, source };
            }
            sqlx::Error::Tls(_) => return Self::Setup { database, source },
            sqlx::Error::Protocol(_) => return Self::Unreachable { database, source },
            _ => return Self::Other { database, source },
        }
        let code = source.as_database_error().and_then(|error| error.code()).unwrap_or_default();
        // <https://www.postgresql.org/docs/current/errcodes-appendix.html>
        match code.get(..2).unwrap_or_default() {
            "28" | "3D" => Self::Refused { database, source },
            "42" if code == "42501" => Self::NoRights { database, source },
            "25" if code == "25006" => Self::ReadOnly { database, source },
            "53" if code == "53100" => Self::Full { database, source },
            // A connection that breaks, a lack of resources, an operator who ends it, a deadlock.
            "08" | "53" | "57" | "40" | "55" => Self::Unreachable { database, source },
            _ => Self::Other { database, source },
        }
    }

    /// What a migration's failure means; `known` is the last version that there is here.
    pub(super) fn of_migration(
        database: &str,
        waited: Duration,
        known: i64,
        error: MigrateError,
    ) -> Self {
        match error {
            MigrateError::VersionMissing(version) if version > known => {
                Self::Newer { database: database.to_owned(), version, known }
            }
            MigrateError::Execute(error) => Self::of(database, waited, error),
            MigrateError::ExecuteMigration(error, version) => {
                match Self::of(database, waited, error) {
                    Self::Other { database, source } => Self::Foreign {
                        database,
                        source: MigrateError::ExecuteMigration(source, version),
                    },
                    known => known,
                }
            }
            other => Self::Foreign { database: database.to_owned(), source: other },
        }
    }
}
