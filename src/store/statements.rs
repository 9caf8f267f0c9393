//! The statements on sessions and usage, in the words of each database.
//!
//! Most differ in one thing, how the database tells its own time; what else differs stands with the
//! database itself. Values are `$1`, `$2`, … in both.

/// One database's statements.
#[derive(Debug)]
pub(super) struct Statements {
    /// A session, and whether it may be claimed; `$3` is a holder that has died.
    pub(super) look: &'static str,
    /// Workspace, name, holder, lease, a holder that has died, retries; the row if it was claimed.
    pub(super) claim: &'static str,
    pub(super) placed: &'static str,
    pub(super) ready: &'static str,
    pub(super) cell_began: &'static str,
    pub(super) cell_ended: &'static str,
    pub(super) failed: &'static str,
    pub(super) gone: &'static str,
    pub(super) start_began: &'static str,
    pub(super) left: &'static str,
    pub(super) off: &'static str,
    pub(super) renew: &'static str,
    pub(super) sessions: &'static str,
    /// Rows of sessions that have nothing left but their numbers.
    pub(super) forget: &'static str,
}

/// What is read of a session, in this order.
macro_rules! columns {
    ($now:expr) => {
        concat!(
            "workspace, name, stage, was, epoch, holder, lease_until, generation, cells, place, error,
            attempts, retry_at, touched, ",
            $now
        )
    };
}

/// Whether a row may be claimed; `$dead` is a holder that has died.
macro_rules! free {
    ($now:expr, $dead:expr) => {
        concat!(
            "((holder IS NULL AND (stage <> 'error' OR retry_at <= ",
            $now,
            ")) OR (holder IS NOT NULL AND (lease_until < ",
            $now,
            " OR holder IS NOT DISTINCT FROM ",
            $dead,
            ")))"
        )
    };
}

/// A change by who holds the row, from some of the stages; `$5` and `$6` are its values.
macro_rules! step {
    ($now:expr, $set:expr, $from:expr) => {
        concat!(
            "UPDATE session SET ",
            $set,
            ", touched = ",
            $now,
            " WHERE workspace = $1 AND name = $2 AND holder = $3 AND epoch = $4 AND stage IN (",
            $from,
            ")"
        )
    };
}

/// All of them: in these words for the time, and with this way to claim.
macro_rules! statements {
    ($now:expr, $claim:expr) => {
        $crate::store::statements::Statements {
            look: concat!(
                "SELECT ",
                columns!($now),
                ", ",
                free!($now, "$3"),
                " FROM session WHERE workspace = $1 AND name = $2"
            ),
            claim: $claim,
            placed: step!($now, "place = $5", "'starting'"),
            ready: step!(
                $now,
                "stage = 'idle', place = $5, cells = CASE generation WHEN $6 THEN cells ELSE 0 END,
                    generation = $6, error = NULL, attempts = 0, retry_at = 0",
                "'starting'"
            ),
            cell_began: step!($now, "stage = 'busy', cells = $5", "'idle', 'busy'"),
            cell_ended: step!($now, "stage = 'idle'", "'busy'"),
            failed: step!(
                $now,
                concat!(
                    "stage = 'error', error = $5, place = NULL, holder = NULL,
                        attempts = attempts + 1, retry_at = ",
                    $now,
                    " + $6"
                ),
                "'starting'"
            ),
            gone: step!(
                $now,
                "stage = 'off', place = NULL",
                "'off', 'starting', 'idle', 'busy', 'error'"
            ),
            start_began: step!($now, "stage = 'starting'", "'off'"),
            left: step!($now, "holder = NULL", "'starting', 'idle', 'busy'"),
            off: step!(
                $now,
                "stage = 'off', place = NULL, holder = NULL",
                "'off', 'starting', 'idle', 'busy', 'error'"
            ),
            renew: concat!(
                "UPDATE session SET lease_until = ",
                $now,
                " + $2 WHERE holder = $1 RETURNING ",
                columns!($now)
            ),
            sessions: concat!(
                "SELECT ",
                columns!($now),
                " FROM session ORDER BY touched DESC, workspace, name"
            ),
            forget: concat!(
                "DELETE FROM session WHERE holder IS NULL AND stage IN ('off', 'error') AND touched < ",
                $now,
                " - $1"
            ),
        }
    };
}

pub(super) use {columns, free, statements, step};

/// What was called in a minute and after it, oldest first. Whatever is kept, what comes of it fits
/// into memory.
pub(super) const USAGE_SINCE: &str = "SELECT principal, minute, calls, tokens FROM (
        SELECT * FROM usage WHERE minute >= $1 ORDER BY minute DESC, principal LIMIT $2) AS newest
    ORDER BY minute, principal";

/// The totals of so many principals that called last.
pub(super) const TOTALS: &str =
    "SELECT principal, tool, calls, tokens, faults, denied, joined, since
    FROM usage_total
    WHERE principal IN (
        SELECT principal FROM usage_total GROUP BY principal ORDER BY max(latest) DESC LIMIT $1)
    ORDER BY latest DESC, principal, tool";

/// What the limiter remembers of so many principals.
pub(super) const ARRIVALS: &str =
    "SELECT principal, micros FROM arrival ORDER BY micros DESC, principal LIMIT $1";

/// Also rows that a wrong clock has put far ahead.
pub(super) const FORGET_MINUTES: &str = "DELETE FROM usage WHERE minute < $1 OR minute > $2";

/// An arrival time that has passed says nothing any more.
pub(super) const FORGET_ARRIVALS: &str = "DELETE FROM arrival WHERE micros < $1";
