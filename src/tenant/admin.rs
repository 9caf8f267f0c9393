//! Makes, changes and ends accounts at Redis, on every node.
//!
//! Which passwords an account has is written down in Redis itself, in a [`Ledger`] that each change
//! watches: of two servers that change one account at once, one begins anew. So an account is always the
//! whole of what its ledger says, a change that is made twice is the same as once, and what fails leaves
//! to others what they have. Rules are not replicated by Redis: every node gets them.

use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::{
    account::Account,
    error::TenantError,
    ledger::Ledger,
    node::{Connection, Node, Written},
    settings::Settings,
    upstream::Upstream,
};
use crate::{
    base::{ids, secret::Secret},
    redis_client::ClientError,
    tls,
};

/// How often a change begins anew when others were faster, and how long it waits for one who closes.
const TRIES: u32 = 50;
const AGAIN: Duration = Duration::from_millis(50);

/// Makes accounts.
pub struct Admin {
    nodes: Vec<Node>,
    upstream: Upstream,
    delete_keys: bool,
}

/// What is handed out.
#[derive(Debug, Clone)]
pub struct Access {
    /// The account's name at Redis.
    pub name: String,
    /// Its password, which nobody else has.
    pub password: Secret,
    /// What its keys and channels begin with.
    pub prefix: String,
}

/// An account that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub user: String,
    /// Its name at Redis.
    pub name: String,
    /// Who holds a password of it.
    pub holders: Vec<String>,
}

impl Admin {
    /// Reads the addresses; reaches nobody yet. Nothing where the settings name no Redis.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn new(settings: &Settings) -> Result<Option<Self>, TenantError> {
        let Some(first) = &settings.redis_url else { return Ok(None) };
        let ca = settings.redis_ca.as_deref();
        let connector = tls::connector(ca)?;
        let all = std::iter::once(first).chain(&settings.redis_nodes);
        let nodes = all.map(|address| Node::new(address, ca)).collect::<Result<Vec<_>, _>>()?;
        let upstream = first.url().and_then(|url| Upstream::of(&url, &connector));
        let bad = || TenantError::Address { node: first.to_string(), source: ClientError::Address };
        let upstream = upstream.ok_or_else(bad)?;
        Ok(Some(Self { nodes, upstream, delete_keys: settings.delete_keys }))
    }

    /// Where kernels' connections go.
    pub(super) fn upstream(&self) -> Upstream {
        self.upstream.clone()
    }

    /// Gives `holder` a password of the user's account, instead of the one it may have had, and takes
    /// theirs from all who are gone. It is handed out once every node has shown that it allows what it
    /// should and nothing else.
    ///
    /// # Errors
    /// [`TenantError`]; the others who hold a password keep it.
    pub async fn grant(
        &self,
        user: &str,
        holder: &str,
        gone: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Access, TenantError> {
        let account = Account::of(user);
        let password = Secret::new(ids::random_hex(32));
        let sum = ids::hex(digest(&SHA256, password.reveal().as_bytes()).as_ref());
        let mut primary = self.primary().await?;
        let ledger =
            self.change(&mut primary, user, &|ledger, _| ledger.with(holder, &sum, gone)).await?;
        if let Err(error) = self.spread(&primary, &account, &ledger, true).await {
            let back = self.release(user, holder).await;
            if let Err(back) = back {
                tracing::warn!(
                    error = &back as &dyn std::error::Error,
                    user,
                    "a password that nobody has is left at Redis"
                );
            }
            return Err(error);
        }
        Ok(Access { name: account.name(), password, prefix: account.prefix() })
    }

    /// Takes the password of `holder`. With the last one the account goes, and its keys where the
    /// settings say so.
    ///
    /// # Errors
    /// [`TenantError`].
    pub async fn release(&self, user: &str, holder: &str) -> Result<(), TenantError> {
        let account = Account::of(user);
        let mut primary = self.primary().await?;
        let keys = self.delete_keys;
        let without = |ledger: Ledger, now| {
            let left = ledger.without(holder);
            if left.holders.is_empty() && keys { left.closed(now) } else { left }
        };
        let ledger = self.change(&mut primary, user, &without).await?;
        if ledger.holders.is_empty() && keys {
            return self.close(&mut primary, &account, &ledger, true).await;
        }
        self.spread(&primary, &account, &ledger, false).await
    }

    /// Another password for `holder`; all connections of the account end, those of others too.
    ///
    /// # Errors
    /// [`TenantError`].
    pub async fn rotate(&self, user: &str, holder: &str) -> Result<Access, TenantError> {
        let access = self.grant(user, holder, &|_| false).await?;
        for node in &self.nodes {
            node.connect().await?.kill(&access.name).await?;
        }
        Ok(access)
    }

    /// Ends the account, whoever made it and holds a password of it. Whether there was one.
    ///
    /// # Errors
    /// [`TenantError`].
    pub async fn revoke(&self, user: &str, keys: bool) -> Result<bool, TenantError> {
        let account = Account::of(user);
        let mut primary = self.primary().await?;
        let was = primary.has_user(&account.name()).await?;
        let now = primary.now().await?;
        let ledger = Ledger::of(user).closed(now);
        // Whatever others are about: from here on nobody comes in.
        primary.write(&account, &ledger).await?;
        self.close(&mut primary, &account, &ledger, keys).await?;
        Ok(was)
    }

    /// All accounts of husk's users.
    ///
    /// # Errors
    /// [`TenantError`].
    pub async fn list(&self) -> Result<Vec<Listed>, TenantError> {
        let mut listed = Vec::new();
        for ledger in self.primary().await?.ledgers().await? {
            let name = Account::of(&ledger.user).name();
            let holders = ledger.holders.into_keys().collect();
            listed.push(Listed { user: ledger.user, name, holders });
        }
        listed.sort_by(|a, b| a.user.cmp(&b.user));
        Ok(listed)
    }

    /// The node that takes writes.
    async fn primary(&self) -> Result<Connection, TenantError> {
        let mut last = None;
        for node in &self.nodes {
            match node.connect().await {
                Ok(mut connection) => {
                    if connection.is_primary(self.nodes.len()).await? {
                        return Ok(connection);
                    }
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(TenantError::NoPrimary))
    }

    /// One change of an account, at the node that takes writes: whole, or another's was first.
    async fn change(
        &self,
        primary: &mut Connection,
        user: &str,
        make: &(dyn Fn(Ledger, u64) -> Ledger + Sync),
    ) -> Result<Ledger, TenantError> {
        let account = Account::of(user);
        for _ in 0..TRIES {
            let before = primary.watched(&account, user).await?;
            let now = primary.now().await?;
            let known = before.is_some();
            let before = before.unwrap_or_else(|| Ledger::of(user));
            if !before.is_closing(now) {
                if !known && self.is_foreign(primary, &account, user).await? {
                    return Err(TenantError::Foreign(account.name()));
                }
                let after = make(before, now);
                if primary.write(&account, &after).await? == Written::Whole {
                    return Ok(after);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        Err(TenantError::Busy(account.name()))
    }

    /// Whether Redis has the account though it has no ledger of it: also once more, for another server
    /// may just have made both.
    async fn is_foreign(
        &self,
        primary: &mut Connection,
        account: &Account,
        user: &str,
    ) -> Result<bool, TenantError> {
        Ok(primary.has_user(&account.name()).await?
            && primary.watched(account, user).await?.is_none())
    }

    /// Brings the account to the other nodes, tries it where that is wanted, and has all nodes keep it.
    async fn spread(
        &self,
        primary: &Connection,
        account: &Account,
        ledger: &Ledger,
        tried: bool,
    ) -> Result<(), TenantError> {
        for node in &self.nodes {
            let mut connection = node.connect().await?;
            if !connection.is(primary) {
                connection.apply(account, ledger).await?;
            }
            if tried {
                connection.prove(account).await?;
            }
            node.save(&mut connection).await?;
        }
        Ok(())
    }

    /// Ends an account that is off already.
    async fn close(
        &self,
        primary: &mut Connection,
        account: &Account,
        closed: &Ledger,
        keys: bool,
    ) -> Result<(), TenantError> {
        self.spread(primary, account, closed, false).await?;
        for node in &self.nodes {
            node.connect().await?.kill(&account.name()).await?;
        }
        if keys {
            primary.delete_keys(&account.prefix()).await?;
        }
        let now = primary.watched(account, &closed.user).await?;
        if now.as_ref() != Some(closed) {
            // It took so long that somebody has opened it again.
            return Ok(());
        }
        let gone = Ledger::of(&closed.user);
        match primary.write(account, &gone).await? {
            Written::Whole => self.spread(primary, account, &gone, false).await,
            Written::Overtaken => Ok(()),
        }
    }
}
