//! Where kernels run that do not run on this machine.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::base::{address::Address, secret::Secret};

/// A gateway for kernels: a Jupyter Server, Jupyter Kernel Gateway or Jupyter Enterprise Gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of a Jupyter Server, Kernel Gateway or Enterprise Gateway where kernels run instead of
    /// here, such as `https://jupyter.example.com/base`. What keeps cells apart there is its business:
    /// takes `sandbox.isolation = "none"`.
    #[schemars(with = "Option<String>")]
    pub url: Option<Address>,
    /// The gateway's token; better in the variable, or in your own `husk.toml`, than in a flag.
    #[schemars(with = "Option<String>")]
    pub token: Option<Secret>,
    /// Certificates (PEM) of whom to trust for `https://`, a path as for `workspace`; unset means whom
    /// the system trusts.
    pub ca: Option<PathBuf>,
    /// Seconds for which a gateway that is away is tried again before its kernel counts as lost.
    pub patience: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { url: None, token: None, ca: None, patience: 60.0 }
    }
}

impl Settings {
    /// Values that cannot be: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if self.url.as_ref().is_some_and(|address| base(address).is_none()) {
            let form = "must be such as https://HOST:PORT/BASE, without a password and a query: the token is \
                the setting `gateway.token`";
            faults.push(("url", form.to_owned()));
        }
        if !cfg!(feature = "gateway") && self.url.is_some() {
            let needs = "needs a husk that was built with gateways (feature `gateway`)";
            faults.push(("url", needs.to_owned()));
        }
        let is_token = |token: &Secret| {
            let text = token.reveal();
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if self.token.as_ref().is_some_and(|token| !is_token(token)) {
            faults.push(("token", "must be letters, digits and signs without spaces".to_owned()));
        }
        if !(1.0..=3600.0).contains(&self.patience) {
            faults.push(("patience", format!("must be 1 to 3600 seconds, not {}", self.patience)));
        }
        faults
    }
}

/// The address below which its interface is, with a `/` at the end; nothing of what is no such address.
pub(super) fn base(address: &Address) -> Option<Url> {
    let mut url = address.url()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return None;
    }
    let path = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_of_a_gateway_is_told() {
        let check = |text: &str, expected: Option<&str>| {
            let address = Address::new(text.to_owned());
            assert_eq!(base(&address).map(String::from).as_deref(), expected, "{text}");
        };
        check("http://host:8888", Some("http://host:8888/"));
        check("https://hub.example.com/user/me/", Some("https://hub.example.com/user/me/"));
        check("https://hub.example.com/user/me", Some("https://hub.example.com/user/me/"));
        for other in ["http://h/?token=t", "http://me:t@h/", "ws://h", "h:8888", "http://h/#t", ""]
        {
            check(other, None);
        }
    }

    #[test]
    fn a_token_that_could_break_a_header_is_refused() {
        let of = |token: &str| Settings {
            token: Some(Secret::new(token.to_owned())),
            ..Settings::default()
        };
        assert_eq!(of("abc-123_~").faults(), []);
        for bad in ["", "a b", "a\r\nX: y", "ä"] {
            assert_eq!(of(bad).faults().len(), 1, "{bad}");
        }
    }
}
