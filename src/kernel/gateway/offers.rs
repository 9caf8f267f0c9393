//! What a gateway tells of itself: its version, and which kernels it can start.

use std::{collections::BTreeMap, time::Duration};

use hyper::Method;
use serde::Deserialize;

use super::{Gateway, GatewayError};

/// How long each question may take.
const ANSWERS: Duration = Duration::from_secs(20);

/// What answers.
#[derive(Debug, Deserialize)]
pub struct Version {
    /// Of the Jupyter Server that it is built on.
    pub version: String,
    /// Its own, where it is an Enterprise Gateway.
    pub gateway_version: Option<String>,
}

/// The kernelspecs of a gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct Offers {
    /// The name of the one that is started when none is asked for.
    pub default: Option<String>,
    /// All of them: name and language.
    pub all: Vec<(String, String)>,
}

/// As a gateway writes them.
#[derive(Deserialize)]
struct Listed {
    default: Option<String>,
    kernelspecs: BTreeMap<String, Kernelspec>,
}

#[derive(Deserialize)]
struct Kernelspec {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    language: String,
}

impl Gateway {
    /// What it is. A Jupyter Server tells anybody, the others whom they know.
    ///
    /// # Errors
    /// [`GatewayError`]; [`GatewayError::Denied`] where it wants another token, or one.
    pub async fn version(&self) -> Result<Version, GatewayError> {
        self.told("api").await
    }

    /// Which kernels it can start.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn offers(&self) -> Result<Offers, GatewayError> {
        let Listed { default, kernelspecs } = self.told("api/kernelspecs").await?;
        let all = kernelspecs.into_iter().map(|(name, it)| (name, it.spec.language)).collect();
        Ok(Offers { default, all })
    }

    async fn told<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, GatewayError> {
        let body = self.ask(Method::GET, path, String::new(), ANSWERS).await?;
        serde_json::from_slice(&body).map_err(|error| GatewayError::NoGateway {
            url: self.url().to_owned(),
            why: format!("to `GET /{path}` it answers something else: {error}"),
        })
    }
}
