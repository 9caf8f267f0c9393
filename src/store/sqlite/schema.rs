//! The tables in SQLite's words.

use crate::store::steps::Step;

pub(super) const STEPS: &[Step] = &[(1, "usage", USAGE), (2, "sessions", SESSIONS)];

const USAGE: &str =
    // Minutes and seconds count from 1970. What a principal may still do within an hour is in
    // `usage`; `usage_total` is for who looks at it. `arrival` is what the limiter remembers.
    "CREATE TABLE usage (
        principal TEXT NOT NULL,
        minute INTEGER NOT NULL,
        calls INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (principal, minute)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX usage_minute ON usage (minute);
    CREATE TABLE usage_total (
        principal TEXT NOT NULL,
        tool TEXT NOT NULL,
        calls INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        faults INTEGER NOT NULL,
        denied INTEGER NOT NULL,
        joined INTEGER NOT NULL,
        since INTEGER NOT NULL,
        latest INTEGER NOT NULL,
        PRIMARY KEY (principal, tool)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE arrival (
        principal TEXT NOT NULL PRIMARY KEY,
        micros INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;";

// Times are milliseconds since 1970 by the database's clock. Who has a session is in `holder`; the
// epoch grows with each claim.
const SESSIONS: &str = "CREATE TABLE session (
        workspace TEXT NOT NULL,
        name TEXT NOT NULL,
        stage TEXT NOT NULL CHECK (stage IN ('off', 'starting', 'idle', 'busy', 'error')),
        was TEXT NOT NULL CHECK (was IN ('off', 'starting', 'idle', 'busy', 'error')),
        epoch INTEGER NOT NULL,
        holder TEXT,
        lease_until INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        cells INTEGER NOT NULL,
        place TEXT,
        error TEXT,
        attempts INTEGER NOT NULL,
        retry_at INTEGER NOT NULL,
        touched INTEGER NOT NULL,
        PRIMARY KEY (workspace, name)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX session_holder ON session (holder) WHERE holder IS NOT NULL;";
