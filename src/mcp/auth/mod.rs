//! Who calls over HTTP, and what they may do.
//!
//! A [`Doorman`] makes a [`Caller`] of what a request carries. Everything that husk keeps (sessions,
//! notebooks, use, breakers) belongs to the caller's [`Principal`]; which requests a caller may make is
//! decided by [`Scopes`]. Knows nothing of HTTP but the words of its headers.

pub mod oauth;
pub mod scope;
pub mod tokens;

use std::sync::Arc;

use crate::base::{canon::Digest, ids};

pub use scope::{Scope, Scopes};

/// A user, by a name that no other user has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Whoever reaches a server that asks nobody who they are.
    #[must_use]
    pub fn local() -> Self {
        Self(super::LOCAL.into())
    }

    /// The user for whom a token was made.
    #[must_use]
    pub fn of_token(name: &str) -> Self {
        Self(format!("token:{name}").into())
    }

    /// The user of whom that issuer says that subject.
    #[must_use]
    pub fn of_issuer(issuer: &str, subject: &str) -> Self {
        Self(format!("oauth:{issuer}#{subject}").into())
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.0
    }

    /// Whether it is nobody in particular.
    #[must_use]
    pub fn is_local(&self) -> bool {
        *self.0 == *super::LOCAL
    }

    /// A name for a folder: as much of the name as a folder's may hold, and what tells it from all others.
    #[must_use]
    pub fn folder(&self) -> String {
        const SHOWN: usize = 40;
        let fits = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let shown: String = self.0.chars().map(fits).take(SHOWN).collect();
        let digest = Digest::of_bytes(self.0.as_bytes());
        let digest = digest.bytes().first_chunk::<8>().map(|it| ids::hex(it)).unwrap_or_default();
        format!("{shown}-{digest}")
    }
}

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub principal: Principal,
    /// What they may do.
    pub scopes: Scopes,
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The request does not say.
    #[error("the request has no bearer token")]
    Nobody,
    /// What it says does not hold.
    #[error("the token is not known, has expired or was revoked")]
    Invalid,
    /// Nobody can be asked whether it holds.
    #[error("the authorization server's keys cannot be got, so that no token can be judged")]
    Unsure,
}

/// Knows who comes.
#[derive(Debug, Default)]
pub struct Doorman {
    /// Tokens that were handed out.
    pub tokens: Option<tokens::TokenFile>,
    /// Tokens of an authorization server.
    #[cfg(feature = "http")]
    pub oauth: Option<oauth::verify::Verifier>,
}

impl Doorman {
    /// Whether it asks at all.
    #[must_use]
    pub fn asks(&self) -> bool {
        #[cfg(feature = "http")]
        if self.oauth.is_some() {
            return true;
        }
        self.tokens.is_some()
    }

    /// Lets the caller in whom the header `Authorization` names.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub async fn admit(&self, authorization: Option<&str>) -> Result<Caller, NotAdmitted> {
        if !self.asks() {
            return Ok(Caller { principal: Principal::local(), scopes: Scopes::ALL_BUT_ADMIN });
        }
        let token = authorization.and_then(bearer).ok_or(NotAdmitted::Nobody)?;
        if let Some(tokens) = &self.tokens
            && let Some(caller) = tokens.caller(token)
        {
            return Ok(caller);
        }
        #[cfg(feature = "http")]
        if let Some(oauth) = &self.oauth {
            return oauth.caller(token).await;
        }
        Err(NotAdmitted::Invalid)
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folders_of_two_users_are_two_and_safe() {
        let of = |name: &str| Principal::of_token(name).folder();
        for name in ["alice", "../../etc", "a/b", "ä", &"x".repeat(500), ""] {
            let folder = of(name);
            assert!(folder.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{folder}");
            assert!(folder.len() < 64, "{folder}");
        }
        assert!(of("alice").starts_with("token-alice-"), "{}", of("alice"));
        assert_ne!(of("a/b"), of("a-b"));
        assert_ne!(of(&"x".repeat(500)), of(&"x".repeat(501)));
    }

    #[test]
    fn a_bearer_token_is_read_as_the_specification_has_it() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for other in ["abc", "Basic abc", "Bearer", "Bearer ", ""] {
            assert_eq!(bearer(other), None, "{other:?}");
        }
    }

    #[tokio::test]
    async fn who_is_not_asked_is_the_local_user_and_no_admin() {
        let caller = Doorman::default().admit(None).await.unwrap();
        assert!(caller.principal.is_local());
        assert!(caller.scopes.has(Scope::Run) && !caller.scopes.has(Scope::Admin));
    }
}
