//! One node of Redis, and what is said to it. The only door to `redis`.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value,
    aio::MultiplexedConnection, cmd, pipe,
};

use super::{
    account::{Account, LEDGERS},
    error::TenantError,
    ledger::Ledger,
};
use crate::{base::address::Address, redis_client};

/// How long a node may take to be reached, and to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Keys that are deleted at once.
const BATCH: usize = 500;
/// Since when what an account may do can be tried.
const LEAST_VERSION: (u64, u64) = (7, 0);

/// A node.
pub(super) struct Node {
    shown: String,
    client: Client,
    warned: AtomicBool,
}

/// A connection to it that nobody else uses, for what it watches is its own.
pub(super) struct Connection {
    node: String,
    redis: MultiplexedConnection,
    version: (u64, u64),
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Whole,
    /// What was watched has changed, and nothing was written.
    Overtaken,
}

impl Node {
    pub(super) fn new(address: &Address, ca: Option<&Path>) -> Result<Self, TenantError> {
        let shown = address.to_string();
        let client = redis_client::client(address, ca)
            .map_err(|source| TenantError::Address { node: shown.clone(), source })?;
        Ok(Self { shown, client, warned: AtomicBool::new(false) })
    }

    pub(super) async fn connect(&self) -> Result<Connection, TenantError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let redis = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let failed = |source| TenantError::unreached(self.shown.clone(), source);
        let redis = redis.map_err(failed)?;
        let (node, version) = (self.shown.clone(), LEAST_VERSION);
        let mut connection = Connection { node, redis, version };
        connection.version = connection.version().await?;
        Ok(connection)
    }

    /// Has the node keep its accounts, where it can.
    pub(super) async fn save(&self, connection: &mut Connection) -> Result<(), TenantError> {
        let kept = connection.save().await?;
        if !kept && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                node = self.shown,
                "Redis forgets its users when it restarts; give it an `aclfile`"
            );
        }
        Ok(())
    }
}

impl Connection {
    async fn ask<T: FromRedisValue>(
        &mut self,
        deed: &'static str,
        cmd: &Cmd,
    ) -> Result<T, TenantError> {
        cmd.query_async(&mut self.redis).await.map_err(|source| self.failed(deed, source))
    }

    fn failed(&self, deed: &'static str, source: RedisError) -> TenantError {
        TenantError::Node { node: self.node.clone(), deed, source }
    }

    async fn version(&mut self) -> Result<(u64, u64), TenantError> {
        let info: String = self.ask("tell its version", cmd("INFO").arg("server")).await?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
        let version = version.unwrap_or("unknown");
        let mut numbers = version.split('.').map_while(|number| number.trim().parse().ok());
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match numbers >= LEAST_VERSION {
            true => Ok(numbers),
            false => {
                let (node, version) = (self.node.clone(), version.to_owned());
                Err(TenantError::Version { node, version })
            }
        }
    }

    /// Whether it takes writes. A replica that the settings do not name keeps the accounts that it had.
    pub(super) async fn is_primary(&mut self, named: usize) -> Result<bool, TenantError> {
        let role: Vec<Value> = self.ask("tell its role", &cmd("ROLE")).await?;
        let mut role = role.into_iter();
        let is_primary = role
            .next()
            .is_some_and(|name| String::from_redis_value(name).is_ok_and(|name| name == "master"));
        if let Some(Value::Array(replicas)) = role.nth(1).filter(|_| is_primary)
            && replicas.len() >= named
        {
            tracing::warn!(
                replicas = replicas.len(),
                "Redis has replicas that `tenant.redis_nodes` does not name: there users have no account"
            );
        }
        Ok(is_primary)
    }

    /// Whether both lead to the same node.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.node == other.node
    }

    /// Seconds since 1970, as the node counts them.
    pub(super) async fn now(&mut self) -> Result<u64, TenantError> {
        let (seconds, _): (u64, u64) = self.ask("tell the time", &cmd("TIME")).await?;
        Ok(seconds)
    }

    pub(super) async fn has_user(&mut self, name: &str) -> Result<bool, TenantError> {
        let found: Value = self.ask("tell of a user", cmd("ACL").arg("GETUSER").arg(name)).await?;
        Ok(found != Value::Nil)
    }

    /// The ledger of an account, if there is one; the next write fails if it changes before.
    pub(super) async fn watched(
        &mut self,
        account: &Account,
        user: &str,
    ) -> Result<Option<Ledger>, TenantError> {
        let key = account.ledger();
        self.ask::<()>("watch a key", cmd("WATCH").arg(&key)).await?;
        self.ledger(&key, user).await
    }

    async fn ledger(&mut self, key: &str, user: &str) -> Result<Option<Ledger>, TenantError> {
        let fields: HashMap<String, String> =
            self.ask("read a key", cmd("HGETALL").arg(key)).await?;
        Ok((!fields.is_empty()).then(|| Ledger::read(user, fields)))
    }

    /// All ledgers that are there.
    pub(super) async fn ledgers(&mut self) -> Result<Vec<Ledger>, TenantError> {
        let (mut cursor, mut keys) = (0, BTreeSet::new());
        loop {
            let (next, found) = self.scan(cursor, LEDGERS).await?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let mut ledgers = Vec::new();
        for key in keys {
            ledgers.extend(self.ledger(&String::from_utf8_lossy(&key), "").await?);
        }
        Ok(ledgers)
    }

    /// Writes ledger and account in one transaction.
    pub(super) async fn write(
        &mut self,
        account: &Account,
        ledger: &Ledger,
    ) -> Result<Written, TenantError> {
        let key = account.ledger();
        let mut change = pipe();
        change.atomic().del(&key).ignore();
        if !ledger.is_over() {
            change.hset_multiple(&key, &ledger.fields()).ignore();
        }
        change.add_command(rules(account, ledger, self.version)).ignore();
        let written: Option<Value> = change
            .query_async(&mut self.redis)
            .await
            .map_err(|source| self.failed("change a user", source))?;
        Ok(if written.is_some() { Written::Whole } else { Written::Overtaken })
    }

    /// The account as the ledger has it, at a node that does not keep ledgers.
    pub(super) async fn apply(
        &mut self,
        account: &Account,
        ledger: &Ledger,
    ) -> Result<(), TenantError> {
        let rules = rules(account, ledger, self.version);
        self.ask("change a user", &rules).await
    }

    /// Tries what the account may do, without doing it.
    pub(super) async fn prove(&mut self, account: &Account) -> Result<(), TenantError> {
        let (may, may_not) = account.probes();
        for (probes, allowed) in [(may, true), (may_not, false)] {
            for probe in probes {
                let mut dry = cmd("ACL");
                dry.arg("DRYRUN").arg(account.name()).arg(&probe);
                // Anything but OK is the reason why not.
                let said: String = self.ask("try a user", &dry).await?;
                if (said == "OK") != allowed {
                    let may = if allowed { "may not" } else { "may" };
                    let what = format!("{may} do `{}`", probe.join(" "));
                    let (name, node) = (account.name(), self.node.clone());
                    return Err(TenantError::Untrue { name, node, what });
                }
            }
        }
        Ok(())
    }

    /// Has the node keep its users; whether it can.
    async fn save(&mut self) -> Result<bool, TenantError> {
        let saved: Result<(), RedisError> =
            cmd("ACL").arg("SAVE").query_async(&mut self.redis).await;
        match saved {
            Ok(()) => Ok(true),
            Err(error) if error.to_string().contains("not configured to use an ACL file") => {
                Ok(false)
            }
            Err(error) => Err(self.failed("keep its users", error)),
        }
    }

    /// Ends the connections of an account.
    pub(super) async fn kill(&mut self, name: &str) -> Result<(), TenantError> {
        if self.has_user(name).await? {
            self.ask::<u64>("end connections", cmd("CLIENT").arg("KILL").arg("USER").arg(name))
                .await?;
        }
        Ok(())
    }

    /// Deletes what begins so. A user's keys may be many, and hold any bytes.
    pub(super) async fn delete_keys(&mut self, prefix: &str) -> Result<(), TenantError> {
        let mut cursor = 0;
        loop {
            let (next, keys) = self.scan(cursor, prefix).await?;
            if !keys.is_empty() {
                self.ask::<u64>("delete keys", cmd("UNLINK").arg(keys)).await?;
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Some of the keys that begin so, and where to go on; 0 is the end. Nothing in a prefix of husk's is
    /// a pattern.
    async fn scan(
        &mut self,
        cursor: u64,
        prefix: &str,
    ) -> Result<(u64, Vec<Vec<u8>>), TenantError> {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*")).arg("COUNT").arg(BATCH);
        self.ask("look through its keys", &scan).await
    }
}

/// The command that makes the account what its ledger says.
fn rules(account: &Account, ledger: &Ledger, version: (u64, u64)) -> Cmd {
    let mut acl = cmd("ACL");
    if ledger.is_over() {
        acl.arg("DELUSER").arg(account.name());
    } else {
        acl.arg("SETUSER").arg(account.name()).arg(account.rules(&ledger.digests(), version));
    }
    acl
}
