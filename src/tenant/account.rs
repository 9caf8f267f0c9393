//! A user's account at Redis: its name, its keys, and what it may do. Pure.
//!
//! The name of a user of husk may be anything; what stands in Redis' rules is base32 of it, in which
//! nothing is a pattern, a separator or a hash tag, and which no two users share. All keys and channels
//! of a user begin with [`Account::prefix`], whose braces put them into one slot of a cluster.
//!
//! Commands are allowed one by one: categories have let through what tells of others (`SCAN`,
//! `CLIENT TRACKING`), reaches other databases (`SELECT`, `COPY … DB`) or changes what all share
//! (`FUNCTION`, `SCRIPT`), and grow with each version of Redis. Left out are also commands whose cost is
//! not bounded by what they say (`SETRANGE`, `SORT`, `KEYS`).

use data_encoding::BASE32_NOPAD;
use ring::digest::{SHA256, digest};

use crate::base::ids;

/// The longest name that is written out; of longer ones stands a digest.
const WRITTEN_OUT: usize = 100;

/// Commands that a user may use, on keys and channels of their own.
const COMMANDS: &[&str] = &[
    // The connection.
    "ping",
    "hello",
    "echo",
    "client|setname",
    "client|id",
    "client|getname",
    // Transactions, as clients' pipelines use them.
    "multi",
    "exec",
    "discard",
    "watch",
    "unwatch",
    // Keys.
    "exists",
    "del",
    "unlink",
    "type",
    "touch",
    "expire",
    "pexpire",
    "expireat",
    "ttl",
    "pttl",
    "persist",
    // Strings.
    "get",
    "set",
    "getdel",
    "getex",
    "setex",
    "psetex",
    "setnx",
    "mget",
    "mset",
    "strlen",
    "incr",
    "incrby",
    "incrbyfloat",
    "decr",
    "decrby",
    // Hashes.
    "hget",
    "hset",
    "hsetnx",
    "hdel",
    "hgetall",
    "hmget",
    "hexists",
    "hlen",
    "hkeys",
    "hvals",
    "hincrby",
    "hscan",
    // Lists, as queues.
    "lpush",
    "rpush",
    "lpop",
    "rpop",
    "blpop",
    "brpop",
    "llen",
    "lrange",
    "lindex",
    "lrem",
    "ltrim",
    // Sets.
    "sadd",
    "srem",
    "scard",
    "sismember",
    "smembers",
    "spop",
    "sscan",
    // Sorted sets.
    "zadd",
    "zrem",
    "zcard",
    "zscore",
    "zincrby",
    "zrange",
    "zrank",
    "zpopmin",
    "zpopmax",
    "bzpopmin",
    "zscan",
    // Streams.
    "xadd",
    "xread",
    "xrange",
    "xlen",
    "xdel",
    "xtrim",
    "xack",
    "xreadgroup",
    "xgroup|create",
    "xpending",
    "xautoclaim",
    // Channels.
    "publish",
    "subscribe",
    "unsubscribe",
];

/// What clients tell of themselves when they connect; Redis knows it since 7.2.
const SINCE_7_2: &str = "client|setinfo";

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(String);

impl Account {
    /// That of a user of husk.
    #[must_use]
    pub fn of(user: &str) -> Self {
        let bytes = user.as_bytes();
        if (1..=WRITTEN_OUT).contains(&bytes.len()) {
            return Self(BASE32_NOPAD.encode(bytes).to_lowercase());
        }
        // No base32 has a `0`.
        Self(format!("0{}", ids::hex(digest(&SHA256, bytes).as_ref())))
    }

    /// Its name at Redis.
    #[must_use]
    pub fn name(&self) -> String {
        format!("t_{}", self.0)
    }

    /// What its keys and channels begin with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("t:{{{}}}:", self.0)
    }

    /// Where husk writes down who has which password; no user's key begins so.
    #[must_use]
    pub(super) fn ledger(&self) -> String {
        format!("{LEDGERS}{}", self.0)
    }

    /// The rules of `ACL SETUSER`: nothing that held before holds any more, and whoever knows a text of
    /// one of these digests (SHA-256, hex) may use what is listed here. With none the account is off.
    pub(super) fn rules(&self, digests: &[String], version: (u64, u64)) -> Vec<String> {
        let on = if digests.is_empty() { "off" } else { "on" };
        let fixed = ["reset", on, "sanitize-payload"].map(str::to_owned);
        let passwords = digests.iter().map(|digest| format!("#{digest}"));
        let own =
            [format!("~{}*", self.prefix()), format!("&{}*", self.prefix()), "-@all".to_owned()];
        let newer = (version >= (7, 2)).then_some(SINCE_7_2);
        let commands = COMMANDS.iter().copied().chain(newer).map(|command| format!("+{command}"));
        fixed.into_iter().chain(passwords).chain(own).chain(commands).collect()
    }

    /// Commands that must be allowed to it, and those that must not be: tried before it is handed out.
    pub(super) fn probes(&self) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
        let (own, other) = (self.prefix(), Self::of("another").prefix());
        // Somebody may be called that.
        let other = if own == other { Self::of("yet another").prefix() } else { other };
        let words = |line: String| line.split(' ').map(str::to_owned).collect();
        let may = [
            format!("GET {own}k"),
            format!("SET {own}k v"),
            format!("PUBLISH {own}c v"),
            "PING".to_owned(),
        ];
        let may_not = [
            format!("GET {other}k"),
            format!("SET {other}k v"),
            format!("PUBLISH {other}c v"),
            format!("GET {}", self.ledger()),
            "KEYS *".to_owned(),
            "SCAN 0".to_owned(),
            "SELECT 1".to_owned(),
            "FLUSHALL".to_owned(),
            "CONFIG GET *".to_owned(),
            "ACL LIST".to_owned(),
            "MONITOR".to_owned(),
            "CLIENT KILL TYPE normal".to_owned(),
            format!("EVAL return 0 {own}k"),
        ];
        (may.map(words).to_vec(), may_not.map(words).to_vec())
    }
}

/// What the keys begin with in which husk writes down passwords' digests.
pub(super) const LEDGERS: &str = "husk:tenant:";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_name_means_more_than_one_user() {
        let long = "x".repeat(10_000);
        let names =
            ["", "1", "1:x", "*", "?", "[a-z]", "a b", "a\nb", "a\0b", "{a}", "ä", "Ä", &long];
        let accounts: BTreeSet<String> =
            names.iter().map(|name| Account::of(name).name()).collect();
        assert_eq!(accounts.len(), names.len());
        for name in accounts {
            let fits =
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(fits && name.len() < 170, "{name}");
        }
        assert_eq!(Account::of("alice").prefix(), "t:{mfwgsy3f}:");
    }

    #[test]
    fn an_account_without_a_password_is_off() {
        let account = Account::of("alice");
        let rules = account.rules(&[], (7, 0));
        assert_eq!(rules[..2], ["reset", "off"]);
        assert!(!rules.iter().any(|rule| rule.contains("setinfo")));
        let rules = account.rules(&["ab".to_owned()], (7, 2));
        assert_eq!(rules[..4], ["reset", "on", "sanitize-payload", "#ab"]);
        assert_eq!(rules.last().unwrap(), "+client|setinfo");
        // What comes later counts: nothing may be allowed before all is forbidden.
        let forbidden = rules.iter().position(|rule| rule == "-@all").unwrap();
        assert!(rules.iter().take(forbidden).all(|rule| !rule.starts_with('+')));
    }

    proptest! {
        #[test]
        fn two_users_never_share_an_account(a in ".{0,120}", b in ".{0,120}") {
            prop_assert_eq!(a == b, Account::of(&a) == Account::of(&b));
            // Nor does what one's keys begin with begin another's.
            prop_assert!(a == b || !Account::of(&a).prefix().starts_with(&Account::of(&b).prefix()));
        }
    }
}
