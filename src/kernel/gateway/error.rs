//! Why a gateway does not do what it is asked, and the way out.

use std::io;

use hyper::StatusCode;

use crate::tls::{Cures, Distrust};

/// How much of a gateway's own words is told, in characters.
const LONGEST: usize = 300;
const CURES: Cures = Cures {
    authorities: "`gateway.ca`",
    address: "`gateway.url`",
    client: "husk has none for gateways: have it ask for none (its own setting `client_ca`)",
};

/// See the module's documentation.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// There is none to be reached.
    #[error(
        "cannot reach the gateway at `{url}`; see whether it runs there (setting `gateway.url`)"
    )]
    Reach {
        /// Its address.
        url: String,
        /// The cause.
        source: io::Error,
    },
    /// There is no TLS: one of the two does not trust the other.
    #[error("the gateway at `{url}` {}", .why.told(&CURES))]
    Untrusted {
        /// Its address.
        url: String,
        /// Why.
        why: Distrust,
        /// The cause.
        source: io::Error,
    },
    /// It wants another token.
    #[error(
        "the gateway at `{url}` refuses it ({status}){}; mostly the token is missing, wrong or has expired: \
         set `gateway.token` (HUSK_GATEWAY_TOKEN) to one that it takes, and start husk anew", words(.said)
    )]
    Denied {
        /// Its address.
        url: String,
        /// `401` or `403`.
        status: StatusCode,
        /// Its own words: an Enterprise Gateway may refuse a user.
        said: String,
    },
    /// It knows no such kernel any more.
    #[error(
        "the gateway at `{0}` knows the kernel no more: it was ended there (culled, or by somebody), or the \
         gateway was started anew"
    )]
    Unknown(String),
    /// It answers with something else.
    #[error("the gateway at `{url}` answers {status} to `{asked}`{}", words(.said))]
    Answer {
        /// Its address.
        url: String,
        /// What was asked.
        asked: String,
        /// How it answers.
        status: StatusCode,
        /// Its own words.
        said: String,
    },
    /// What it answers is not what a gateway answers.
    #[error("what answers at `{url}` is no gateway: {why}")]
    NoGateway {
        /// Its address.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// It takes too long.
    #[error("the gateway at `{url}` did not answer within {seconds} s")]
    Late {
        /// Its address.
        url: String,
        /// How long was waited.
        seconds: f64,
    },
}

impl GatewayError {
    /// What it is that there is no connection.
    pub(super) fn unreached(url: String, source: io::Error) -> Self {
        match Distrust::of(&source) {
            Some(why) => Self::Untrusted { url, why, source },
            None => Self::Reach { url, source },
        }
    }

    /// What it is that a connection gives no answer. A gateway that misses a certificate of its client's
    /// says so only after both have shaken hands (TLS 1.3).
    pub(super) fn unanswered(url: String, source: io::Error) -> Self {
        match Distrust::of(&source) {
            Some(why @ Distrust::Client) => Self::Untrusted { url, why, source },
            _ => Self::Reach { url, source },
        }
    }

    /// What an answer of that status is.
    pub(super) fn of(url: String, asked: &str, status: StatusCode, body: &[u8]) -> Self {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Self::Denied { url, status, said: said(body) }
            }
            _ => Self::Answer { url, asked: asked.to_owned(), status, said: said(body) },
        }
    }

    /// Whether another try may succeed though nothing is changed.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Reach { .. } | Self::Late { .. } | Self::NoGateway { .. } => true,
            Self::Answer { status, .. } => status.is_server_error(),
            Self::Untrusted { .. } | Self::Denied { .. } | Self::Unknown(_) => false,
        }
    }
}

/// What a gateway says of an error: its `message`, or the text itself where it is one line.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let told = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(value) => {
            let word = |name: &str| {
                value.get(name).and_then(|text| text.as_str()).filter(|text| !text.is_empty())
            };
            word("message").or_else(|| word("reason")).unwrap_or_default().to_owned()
        }
        Err(_) if text.contains('<') => String::new(),
        Err(_) => text.into_owned(),
    };
    let line = told.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|each| !each.is_control()).take(LONGEST).collect()
}

fn words(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_own_words_are_told_and_its_pages_are_not() {
        let check = |body: &str, expected: &str| assert_eq!(said(body.as_bytes()), expected);
        check(r#"{"message": "no such\nkernel", "reason": null}"#, "no such kernel");
        check(r#"{"message": null, "reason": "Not Found"}"#, "Not Found");
        check(
            r#"{"message": "", "reason": "User 'root' is not authorized"}"#,
            "User 'root' is not authorized",
        );
        check("<html><body>Bad Gateway</body></html>", "");
        check("upstream is away\u{7}", "upstream is away");
    }

    #[test]
    fn a_gateway_that_hangs_up_for_want_of_a_certificate_is_told_from_one_that_is_away() {
        use tokio_rustls::rustls::{AlertDescription, Error};
        let of = |error| GatewayError::unanswered("u".into(), io::Error::other(error));
        let alert = |alert| io::Error::other(Error::AlertReceived(alert));
        let wants = of(alert(AlertDescription::CertificateRequired));
        assert!(wants.to_string().contains("`client_ca`") && !wants.passes(), "{wants}");
        assert!(of(alert(AlertDescription::InternalError)).passes());
        assert!(of(io::ErrorKind::ConnectionReset.into()).passes());
    }

    #[test]
    fn what_needs_somebody_does_not_pass() {
        let of = |status| GatewayError::of("u".into(), "a", status, b"").passes();
        assert!(!of(StatusCode::UNAUTHORIZED) && !of(StatusCode::FORBIDDEN));
        assert!(!of(StatusCode::NOT_FOUND) && of(StatusCode::BAD_GATEWAY));
    }
}
