//! AWS's signature, version 4, of a POST with a body and without a query.
//!
//! Pure: it is given the time. Source: AWS, "Create a signed AWS API request". What is encoded in the
//! path already is encoded once more in what is signed.

use std::{fmt::Write, time::SystemTime};

use ring::{digest, hmac};

use crate::base::{clock, ids::hex, secret::Secret};

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::llm) struct Identity {
    pub(in crate::llm) key_id: String,
    pub(in crate::llm) secret: Secret,
    /// Of temporary credentials.
    pub(in crate::llm) session_token: Option<Secret>,
}

/// Signs for one region and service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::llm) struct Signer {
    pub(in crate::llm) identity: Identity,
    pub(in crate::llm) region: String,
    pub(in crate::llm) service: &'static str,
}

/// All but the characters that are never encoded, as `%XX`.
pub(in crate::llm) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

impl Signer {
    /// The headers that sign a POST of `body` to `url` with the content type `application/json`.
    pub(in crate::llm) fn sign(
        &self,
        url: &str,
        body: &[u8],
        now: SystemTime,
    ) -> Vec<(String, String)> {
        let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (host, path) = after_scheme.split_once('/').unwrap_or((after_scheme, ""));
        let time = compact(now);
        let day = time.split('T').next().unwrap_or_default();
        let of_body = hex(digest::digest(&digest::SHA256, body).as_ref());
        let mut signed = vec![
            ("content-type", "application/json".to_owned()),
            ("host", host.to_owned()),
            ("x-amz-content-sha256", of_body.clone()),
            ("x-amz-date", time.clone()),
        ];
        let token = self.identity.session_token.as_ref();
        signed.extend(token.map(|token| ("x-amz-security-token", token.reveal().to_owned())));
        let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String =
            signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let path: Vec<_> = path.split('/').map(encoded).collect();
        let request = format!("POST\n/{}\n\n{lines}\n{names}\n{of_body}", path.join("/"));
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let of_request = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
        let signature =
            self.signature(day, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{of_request}"));
        let key_id = &self.identity.key_id;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        // The HTTP client writes the host, and the content type is there already.
        let own = signed.into_iter().filter(|(name, _)| name.starts_with("x-amz-"));
        let mut headers: Vec<_> = own.map(|(name, value)| (name.to_owned(), value)).collect();
        headers.push(("authorization".to_owned(), authorization));
        headers
    }

    fn signature(&self, day: &str, text: &str) -> String {
        let first = format!("AWS4{}", self.identity.secret.reveal());
        let parts = [day, &self.region, self.service, "aws4_request"];
        let key = parts.into_iter().fold(first.into_bytes(), |key, part| mac(&key, part));
        hex(&mac(&key, text))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// `20261123T010203Z`.
fn compact(now: SystemTime) -> String {
    let iso = clock::iso(now);
    let seconds = iso.split('.').next().unwrap_or_default();
    format!("{}Z", seconds.replace(['-', ':'], ""))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn signer(token: Option<&str>) -> Signer {
        let identity = Identity {
            key_id: "AKIDEXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: token.map(|token| Secret::new(token.to_owned())),
        };
        Signer { identity, region: "us-east-1".to_owned(), service: "bedrock" }
    }

    #[test]
    fn the_signature_covers_time_path_body_and_token() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_600_000);
        let sign = |url: &str, body: &[u8], token, now| {
            signer(token).sign(url, body, now).pop().unwrap().1
        };
        let url = "https://h/model/a%3A0/invoke";
        let base = sign(url, b"{}", None, now);
        assert!(base.contains("SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date,"));
        let others = [
            sign("https://h/model/a:0/invoke", b"{}", None, now),
            sign("https://i/model/a%3A0/invoke", b"{}", None, now),
            sign(url, b"{ }", None, now),
            sign(url, b"{}", Some("t"), now),
            sign(url, b"{}", None, now + Duration::from_secs(1)),
        ];
        let end = |text: &str| text.rsplit('=').next().unwrap().to_owned();
        assert!(others.iter().all(|other| end(other) != end(&base)));
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(20_780 * 86_400 + 3661);
        assert_eq!(compact(moment), "20261123T010101Z");
    }

    #[test]
    fn the_secret_is_in_no_header() {
        let now = SystemTime::UNIX_EPOCH;
        let headers = format!("{:?}", signer(None).sign("https://h/x", b"", now));
        assert!(!headers.contains("wJalr"), "{headers}");
    }
}
