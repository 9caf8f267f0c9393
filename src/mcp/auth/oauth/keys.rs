//! The authorization server's keys: got when they are first needed, kept, and got again when a token
//! names one that is not known or when they have become old.
//!
//! A server that cannot be reached is lived without for a day; whoever sends tokens with names of keys
//! that are made up has the keys got twice a minute at most.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jsonwebtoken::{
    DecodingKey,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};
use url::Url;

use super::fetch::{Fetch, FetchError};

/// How old keys may be before they are got again.
const FRESH: Duration = Duration::from_secs(600);
/// How old they may be where they cannot be got again.
const OLDEST: Duration = Duration::from_secs(86_400);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(30);

/// A key, and what it may be used with.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) key: DecodingKey,
    pub(super) algorithm: Option<KeyAlgorithm>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKey {
    #[error("the token names a key that its issuer does not have")]
    Unknown,
    #[error("the issuer's keys cannot be got")]
    Unreachable(#[source] Arc<FetchError>),
}

#[derive(Debug, Default)]
struct Kept {
    keys: HashMap<String, Known>,
    got: Option<Instant>,
    tried: Option<Instant>,
    failed: Option<Arc<FetchError>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Keys {
    fetch: Fetch,
    issuer: Url,
    place: Option<Url>,
    /// Held for look-ups only.
    kept: Mutex<Kept>,
    /// One gets them, and the others wait.
    turn: Semaphore,
}

impl Keys {
    pub(super) fn new(fetch: Fetch, issuer: Url, place: Option<Url>) -> Self {
        Self { fetch, issuer, place, kept: Mutex::default(), turn: Semaphore::new(1) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key of that name; of tokens that name none, the only one that there is.
    pub(super) async fn find(&self, name: Option<&str>) -> Result<Known, NoKey> {
        if let Some(known) = self.kept().find(name, FRESH) {
            return Ok(known);
        }
        // The semaphore is never closed.
        let _turn = self.turn.acquire().await;
        // Another may have got them meanwhile.
        if let Some(known) = self.kept().find(name, FRESH) {
            return Ok(known);
        }
        if self.kept().may_try() {
            let got = self.get().await;
            self.kept().take(got);
        }
        let kept = self.kept();
        match (kept.find(name, OLDEST), &kept.failed) {
            (Some(known), _) => Ok(known),
            (None, Some(failed)) => Err(NoKey::Unreachable(Arc::clone(failed))),
            (None, None) => Err(NoKey::Unknown),
        }
    }

    async fn get(&self) -> Result<HashMap<String, Known>, FetchError> {
        let place = match &self.place {
            Some(place) => place.clone(),
            None => self.place_by_metadata().await?,
        };
        self.fetch.json(&place).await.map(|set| read(&set))
    }

    /// Where the issuer's metadata says that its keys are (RFC 8414, else OpenID Connect Discovery).
    async fn place_by_metadata(&self) -> Result<Url, FetchError> {
        let path = self.issuer.path().trim_end_matches('/');
        let mut first = self.issuer.clone();
        first.set_path(&format!("/.well-known/oauth-authorization-server{path}"));
        let mut second = self.issuer.clone();
        second.set_path(&format!("{path}/.well-known/openid-configuration"));
        let (metadata, url) = match self.fetch.json(&first).await {
            Ok(metadata) => (metadata, first),
            Err(_) => (self.fetch.json(&second).await?, second),
        };
        let place = metadata.get("jwks_uri").and_then(Value::as_str);
        place.and_then(|place| Url::parse(place).ok()).ok_or_else(|| FetchError::Answer {
            url,
            why: "metadata without a `jwks_uri`".to_owned(),
        })
    }
}

impl Kept {
    fn find(&self, name: Option<&str>, age: Duration) -> Option<Known> {
        if self.got.is_none_or(|got| got.elapsed() > age) {
            return None;
        }
        match name {
            Some(name) => self.keys.get(name).cloned(),
            None if self.keys.len() == 1 => self.keys.values().next().cloned(),
            None => None,
        }
    }

    fn may_try(&self) -> bool {
        self.tried.is_none_or(|tried| tried.elapsed() >= AGAIN)
    }

    fn take(&mut self, got: Result<HashMap<String, Known>, FetchError>) {
        let now = Instant::now();
        self.tried = Some(now);
        match got {
            Ok(keys) => (self.keys, self.got, self.failed) = (keys, Some(now), None),
            Err(error) => {
                let told = &error as &dyn std::error::Error;
                tracing::warn!(error = told, "the keys of the authorization server cannot be got");
                self.failed = Some(Arc::new(error));
            }
        }
    }
}

/// The keys of a set that sign; one that cannot be read is no reason to do without the others.
fn read(set: &Value) -> HashMap<String, Known> {
    let all = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    let known = |key: &Value| {
        let jwk = serde_json::from_value::<Jwk>(key.clone()).ok()?;
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let name = common.key_id.clone().unwrap_or_default();
        Some((name, Known { key, algorithm: common.key_algorithm }))
    };
    all.filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_or_does_not_sign_is_left_out() {
        let good = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "EdDSA",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let mut encrypts = good.clone();
        encrypts["use"] = json!("enc");
        encrypts["kid"] = json!("b");
        let set = json!({"keys": [{"kty": "new"}, 7, encrypts, good]});
        let keys = read(&set);
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(keys["a"].algorithm, Some(KeyAlgorithm::EdDSA));
        assert!(read(&json!({})).is_empty() && read(&json!([])).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn keys_become_old_and_are_not_asked_for_without_end() {
        let mut kept = Kept::default();
        assert!(kept.may_try() && kept.find(Some("a"), OLDEST).is_none());
        let key = DecodingKey::from_ed_components("11qY").unwrap();
        let known = Known { key, algorithm: None };
        kept.take(Ok(HashMap::from([("a".to_owned(), known)])));
        assert!(kept.find(Some("a"), FRESH).is_some() && kept.find(None, FRESH).is_some());
        assert!(kept.find(Some("b"), FRESH).is_none() && !kept.may_try());
        tokio::time::advance(AGAIN).await;
        assert!(kept.may_try());
        tokio::time::advance(FRESH).await;
        assert!(kept.find(Some("a"), FRESH).is_none() && kept.find(Some("a"), OLDEST).is_some());
        kept.take(Err(FetchError::Address("x".to_owned())));
        assert!(kept.find(Some("a"), OLDEST).is_some() && kept.failed.is_some());
        tokio::time::advance(OLDEST).await;
        assert!(kept.find(Some("a"), OLDEST).is_none());
    }
}
