//! The tables in PostgreSQL's words, and what tells of changes.

use crate::store::steps::Step;

pub(super) const STEPS: &[Step] =
    &[(1, "usage", USAGE), (2, "sessions", SESSIONS), (3, "shared", include_str!("shared.sql"))];

// Texts are compared byte by byte, as SQLite does it: no locale has a say. Minutes and seconds count
// from 1970. What a principal may still do within an hour is in `usage`; `usage_total` is for who
// looks at it. `arrival` is what the limiter remembers.
const USAGE: &str = r#"CREATE TABLE usage (
        principal TEXT COLLATE "C" NOT NULL,
        minute BIGINT NOT NULL,
        calls BIGINT NOT NULL,
        tokens BIGINT NOT NULL,
        PRIMARY KEY (principal, minute)
    );
    CREATE INDEX usage_minute ON usage (minute);
    CREATE TABLE usage_total (
        principal TEXT COLLATE "C" NOT NULL,
        tool TEXT COLLATE "C" NOT NULL,
        calls BIGINT NOT NULL,
        tokens BIGINT NOT NULL,
        faults BIGINT NOT NULL,
        denied BIGINT NOT NULL,
        joined BIGINT NOT NULL,
        since BIGINT NOT NULL,
        latest BIGINT NOT NULL,
        PRIMARY KEY (principal, tool)
    );
    CREATE TABLE arrival (
        principal TEXT COLLATE "C" NOT NULL PRIMARY KEY,
        micros BIGINT NOT NULL
    );"#;

// Times are milliseconds since 1970 by the database's clock. Who has a session is in `holder`; the
// epoch grows with each claim. Who waits is told when a start is over or a holder has gone: not of
// cells and renewals, for a notification costs every commit.
const SESSIONS: &str = r#"CREATE TABLE session (
        workspace TEXT COLLATE "C" NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        stage TEXT NOT NULL CHECK (stage IN ('off', 'starting', 'idle', 'busy', 'error')),
        was TEXT NOT NULL CHECK (was IN ('off', 'starting', 'idle', 'busy', 'error')),
        epoch BIGINT NOT NULL,
        holder TEXT COLLATE "C",
        lease_until BIGINT NOT NULL,
        generation BIGINT NOT NULL,
        cells BIGINT NOT NULL,
        place TEXT,
        error TEXT,
        attempts BIGINT NOT NULL,
        retry_at BIGINT NOT NULL,
        touched BIGINT NOT NULL,
        PRIMARY KEY (workspace, name)
    );
    CREATE INDEX session_holder ON session (holder) WHERE holder IS NOT NULL;
    CREATE FUNCTION session_changed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('husk_session', '');
            RETURN NULL;
        END
    $$;
    CREATE TRIGGER session_changed AFTER UPDATE ON session FOR EACH ROW
        WHEN ((OLD.stage = 'starting' AND NEW.stage <> 'starting')
            OR (OLD.holder IS NOT NULL AND NEW.holder IS NULL))
        EXECUTE FUNCTION session_changed();"#;
