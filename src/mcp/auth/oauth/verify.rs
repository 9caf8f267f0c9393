//! Judges one token.

use jsonwebtoken::{Algorithm, Validation, decode, decode_header, jwk::KeyAlgorithm};
use serde::Deserialize;
use url::Url;

use super::{
    fetch::Fetch,
    keys::{Keys, NoKey},
    settings::Settings,
    signature,
};
use crate::mcp::auth::{Caller, NotAdmitted, Principal, Scopes};
use crate::tls::TlsError;

/// The longest token, in bytes.
const LONGEST: usize = 16 << 10;
/// The longest subject, in bytes.
const LONGEST_SUBJECT: usize = 255;
/// How far two clocks may be apart, in seconds.
const LEEWAY: u64 = 60;

/// Why no tokens can be taken.
#[derive(Debug, thiserror::Error)]
pub enum OauthError {
    /// A setting is missing.
    #[error(
        "`http.oauth.issuer` needs `http.oauth.audience`: the address by which clients know this server, \
         such as https://husk.example.com/mcp; without it tokens for other servers would be taken"
    )]
    NoAudience,
    /// A setting is no address.
    #[error("`http.oauth` holds `{0}`, which is no address")]
    Address(String),
    /// TLS.
    #[error("cannot speak TLS to the authorization server")]
    Tls(#[source] TlsError),
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Verifier {
    issuer: String,
    audience: Url,
    named: String,
    keys: Keys,
}

/// What a token says of its user.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    scope: Option<String>,
    /// The same in the words of other issuers.
    #[serde(default)]
    scp: Option<Words>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Verifier {
    /// The issuer of the settings; none where they name none.
    ///
    /// # Errors
    /// [`OauthError`].
    pub fn new(settings: &Settings) -> Result<Option<Self>, OauthError> {
        let Some(issuer) = &settings.issuer else { return Ok(None) };
        let named = settings.audience.clone().ok_or(OauthError::NoAudience)?;
        let url = |text: &str| Url::parse(text).map_err(|_| OauthError::Address(text.to_owned()));
        let place = settings.jwks.as_deref().map(url).transpose()?;
        let fetch = Fetch::new().map_err(OauthError::Tls)?;
        signature::use_ring();
        let keys = Keys::new(fetch, url(issuer)?, place);
        Ok(Some(Self { issuer: issuer.clone(), audience: url(&named)?, named, keys }))
    }

    /// The issuer, as clients are told.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The address by which clients know this server, as clients are told.
    #[must_use]
    pub fn audience(&self) -> &str {
        &self.named
    }

    /// Where clients find who can be asked for tokens (RFC 9728).
    #[must_use]
    pub fn metadata_url(&self) -> String {
        let origin = self.audience.origin().ascii_serialization();
        let path = self.audience.path().trim_end_matches('/');
        format!("{origin}/.well-known/oauth-protected-resource{path}")
    }

    /// Whose token this is.
    pub(in crate::mcp::auth) async fn caller(&self, token: &str) -> Result<Caller, NotAdmitted> {
        if token.len() > LONGEST {
            return Err(NotAdmitted::Invalid);
        }
        let invalid = |why: &dyn std::fmt::Display| {
            tracing::debug!(%why, "a token is not taken");
            NotAdmitted::Invalid
        };
        let header = decode_header(token).map_err(|error| invalid(&error))?;
        if !signature::TAKEN.contains(&header.alg) {
            return Err(NotAdmitted::Invalid);
        }
        let known = self.keys.find(header.kid.as_deref()).await.map_err(|error| match error {
            NoKey::Unreachable(_) => NotAdmitted::Unsure,
            NoKey::Unknown => invalid(&error),
        })?;
        if known.algorithm.is_some_and(|algorithm| algorithm != KeyAlgorithm::from(header.alg)) {
            return Err(NotAdmitted::Invalid);
        }
        let claims = decode::<Claims>(token, &known.key, &self.validation(header.alg));
        self.judged(claims.map_err(|error| invalid(&error))?.claims)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.named]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        validation
    }

    fn judged(&self, claims: Claims) -> Result<Caller, NotAdmitted> {
        let Claims { iss, sub, scope, scp } = claims;
        if iss != self.issuer || sub.is_empty() || sub.len() > LONGEST_SUBJECT {
            return Err(NotAdmitted::Invalid);
        }
        let mut words: Vec<String> =
            scope.iter().flat_map(|scope| scope.split(' ')).map(str::to_owned).collect();
        match scp {
            Some(Words::One(scp)) => words.extend(scp.split(' ').map(str::to_owned)),
            Some(Words::Many(scp)) => words.extend(scp),
            None => {}
        }
        let scopes = Scopes::of(words.iter().map(String::as_str));
        Ok(Caller { principal: Principal::of_issuer(&self.issuer, &sub), scopes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::auth::Scope;

    fn verifier() -> Verifier {
        let settings = Settings {
            issuer: Some("https://login.example.com/realms/a".to_owned()),
            audience: Some("https://husk.example.com/mcp".to_owned()),
            jwks: None,
        };
        Verifier::new(&settings).unwrap().unwrap()
    }

    #[test]
    fn clients_are_told_where_to_find_who_makes_tokens() {
        let url = verifier().metadata_url();
        assert_eq!(url, "https://husk.example.com/.well-known/oauth-protected-resource/mcp");
        let without =
            Settings { issuer: Some("https://a.example".to_owned()), ..Settings::default() };
        assert!(matches!(Verifier::new(&without), Err(OauthError::NoAudience)));
        assert!(Verifier::new(&Settings::default()).unwrap().is_none());
    }

    #[test]
    fn scopes_are_read_in_every_form_that_issuers_write() {
        let check = |claims: serde_json::Value, run: bool| {
            let mut claims = claims;
            claims["iss"] = "https://login.example.com/realms/a".into();
            claims["sub"] = "alice".into();
            let caller = verifier().judged(serde_json::from_value(claims).unwrap()).unwrap();
            assert_eq!(caller.scopes.has(Scope::Run), run);
            assert!(caller.principal.name().ends_with("#alice"));
        };
        check(serde_json::json!({"scope": "openid notebook:run"}), true);
        check(serde_json::json!({"scp": "notebook:run"}), true);
        check(serde_json::json!({"scp": ["notebook:read", "notebook:run"]}), true);
        check(serde_json::json!({"scope": "notebook:runner"}), false);
        check(serde_json::json!({}), false);
    }
}
