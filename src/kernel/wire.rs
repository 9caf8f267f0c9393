//! The Jupyter wire format as values: frames in, [`Message`] out, and back.
//!
//! `identities… <IDS|MSG> signature header parent_header metadata content buffers…`, signed with
//! HMAC-SHA256 over the four JSON frames; source:
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol>.
//! Decoding is tolerant: whatever a cell can put into a message, its type and its parent are still
//! known, so that a reply with odd contents still ends its cell. No sockets here.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use bytes::Bytes;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::base::{clock, ids, secret::Secret};

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The protocol version that husk speaks.
pub const PROTOCOL: &str = "5.4";

/// A message from the kernel: enough to know whose it is, and its content as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `header.msg_type`.
    pub kind: String,
    /// `parent_header.msg_id`; empty where the kernel named no parent.
    pub parent: String,
    /// The content: JSON in UTF-8, unless the kernel wrote something else.
    pub content: Bytes,
}

/// Frames that are no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WireError {
    /// No delimiter, or fewer than five frames after it.
    #[error("the frames are no Jupyter message: no `<IDS|MSG>` with five frames after it")]
    Shape,
    /// The HMAC does not fit: not from our kernel, or changed on the way.
    #[error("the message's signature does not fit")]
    Signature,
    /// The header is not a JSON object with a `msg_type`.
    #[error("the message's header is not readable")]
    Header,
}

/// The header's members that husk needs; everything else a kernel may add is passed over.
#[derive(Deserialize)]
struct Header {
    msg_type: String,
}

#[derive(Deserialize)]
struct Parent {
    #[serde(default)]
    msg_id: String,
}

/// A request's header as the protocol has it.
#[derive(Serialize)]
struct RequestHeader<'a> {
    msg_id: &'a str,
    session: &'a str,
    username: &'a str,
    date: String,
    msg_type: &'a str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subshell_id: Option<&'a str>,
}

/// Signs and numbers requests, verifies answers: one for each kernel.
pub struct Codec {
    /// None where a gateway signs and verifies.
    key: Option<hmac::Key>,
    session: String,
    sent: AtomicU64,
}

impl Codec {
    /// A codec for a kernel that was started with `key`.
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        Self {
            key: Some(hmac::Key::new(hmac::HMAC_SHA256, key.reveal().as_bytes())),
            ..Self::unsigned()
        }
    }

    /// A codec for a kernel that a gateway speaks for.
    #[must_use]
    pub fn unsigned() -> Self {
        Self { key: None, session: ids::random_hex(16), sent: AtomicU64::new(0) }
    }

    /// What stands for husk in the headers of its requests.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Encodes a request: its id, and its frames.
    ///
    /// # Errors
    /// When `content` cannot be written as JSON.
    pub fn request(
        &self,
        kind: &str,
        content: &impl Serialize,
    ) -> serde_json::Result<(String, Vec<Bytes>)> {
        self.request_to(None, kind, content)
    }

    /// Encodes a request to a subshell of the kernel, or to its main shell.
    ///
    /// # Errors
    /// When `content` cannot be written as JSON.
    pub fn request_to(
        &self,
        subshell: Option<&str>,
        kind: &str,
        content: &impl Serialize,
    ) -> serde_json::Result<(String, Vec<Bytes>)> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}_{number}", self.session);
        let frames = self.request_as(&id, subshell, kind, (None::<&()>, content))?;
        Ok((id, frames))
    }

    /// Encodes a request that bears this id, with metadata or without.
    ///
    /// # Errors
    /// When `content` cannot be written as JSON.
    pub fn request_as(
        &self,
        id: &str,
        subshell: Option<&str>,
        kind: &str,
        (metadata, content): (Option<&impl Serialize>, &impl Serialize),
    ) -> serde_json::Result<Vec<Bytes>> {
        let header = RequestHeader {
            msg_id: id,
            session: &self.session,
            username: "husk",
            date: clock::iso(SystemTime::now()),
            msg_type: kind,
            version: PROTOCOL,
            subshell_id: subshell,
        };
        let parts = [
            Bytes::from(serde_json::to_vec(&header)?),
            Bytes::from_static(b"{}"),
            match metadata {
                Some(metadata) => Bytes::from(serde_json::to_vec(metadata)?),
                None => Bytes::from_static(b"{}"),
            },
            Bytes::from(serde_json::to_vec(content)?),
        ];
        let signature = self.key.as_ref().map(|key| ids::hex(sign(key, &parts).as_ref()));
        let signature = Bytes::from(signature.unwrap_or_default());
        let mut frames = vec![Bytes::from_static(DELIMITER), signature];
        frames.extend(parts);
        Ok(frames)
    }

    /// Decodes and verifies what a kernel sent.
    ///
    /// # Errors
    /// [`WireError`]; such a message cannot be told from noise and is dropped.
    pub fn decode(&self, frames: &[Bytes]) -> Result<Message, WireError> {
        let at =
            frames.iter().position(|frame| frame.as_ref() == DELIMITER).ok_or(WireError::Shape)?;
        let (_, after) = frames.split_at(at);
        let [_, signature, parts @ ..] = after else { return Err(WireError::Shape) };
        let Some(signed @ [header, parent, _, content]) = parts.first_chunk::<4>() else {
            return Err(WireError::Shape);
        };
        self.key.as_ref().map_or(Ok(()), |key| verify(key, signed, signature))?;
        let header: Header = serde_json::from_slice(header).map_err(|_| WireError::Header)?;
        // xeus-python sends `null`, some kernels `{}`: both mean that there is no parent.
        let parent = serde_json::from_slice::<Parent>(parent).map(|p| p.msg_id).unwrap_or_default();
        let content = in_utf8(content);
        Ok(Message { kind: header.msg_type, parent, content })
    }
}

/// The frames of a message without a signature, from header, parent, metadata, content and buffers.
#[cfg(feature = "gateway")]
pub(super) fn unsigned(parts: Vec<Bytes>) -> Vec<Bytes> {
    [vec![Bytes::from_static(DELIMITER), Bytes::new()], parts].concat()
}

/// The parts of a request's frames: header, parent, metadata, content.
#[cfg(feature = "gateway")]
pub(super) fn parts(frames: &[Bytes]) -> &[Bytes] {
    frames.get(2..).unwrap_or_default()
}

fn sign(key: &hmac::Key, parts: &[Bytes; 4]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

fn verify(key: &hmac::Key, parts: &[Bytes; 4], signature: &[u8]) -> Result<(), WireError> {
    let expected = ids::hex(sign(key, parts).as_ref());
    // The comparison of digests of both texts does not tell by its time where they differ.
    let digest = |text: &[u8]| hmac::sign(key, text);
    if digest(expected.as_bytes()).as_ref() == digest(signature).as_ref() {
        Ok(())
    } else {
        Err(WireError::Signature)
    }
}

/// jupyter_client lets file names that are not UTF-8 through as raw bytes; they become `\u{fffd}`.
fn in_utf8(content: &Bytes) -> Bytes {
    match String::from_utf8_lossy(content) {
        Cow::Borrowed(_) => content.clone(),
        Cow::Owned(text) => Bytes::from(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn codec() -> Codec {
        Codec::new(&Secret::new("key".into()))
    }

    fn signed(codec: &Codec, parts: [&str; 4]) -> Vec<Bytes> {
        let parts = parts.map(|part| Bytes::copy_from_slice(part.as_bytes()));
        let signature = ids::hex(sign(codec.key.as_ref().unwrap(), &parts).as_ref());
        [
            vec![Bytes::from_static(b"topic"), Bytes::from_static(DELIMITER), signature.into()],
            parts.to_vec(),
        ]
        .concat()
    }

    #[test]
    fn odd_contents_still_have_a_type_and_a_parent() {
        let codec = codec();
        let check = |parts: [&'static str; 4], parent: &str| {
            let message = codec.decode(&signed(&codec, parts)).unwrap();
            let [.., content] = parts;
            let kind = "execute_reply".into();
            assert_eq!(message, Message { kind, parent: parent.into(), content: content.into() });
        };
        let header = r#"{"msg_type":"execute_reply","msg_id":1,"new":[]}"#;
        check([header, r#"{"msg_id":"p"}"#, "{}", r#"{"a":1}"#], "p");
        check([header, "null", "{}", "{}"], "");
        check([header, "{}", "{}", "[NaN]"], "");
        check([header, r#"{"msg_id":7}"#, "garbage", "\u{1}"], "");
    }

    #[test]
    fn content_that_is_not_utf_8_loses_only_what_is_not() {
        let content = Bytes::from_static(b"{\"t\": \"name\xe9\"}");
        assert_eq!(in_utf8(&content), "{\"t\": \"name\u{fffd}\"}");
    }

    #[test]
    fn a_changed_byte_is_refused() {
        let codec = codec();
        let frames = signed(&codec, [r#"{"msg_type":"status"}"#, "{}", "{}", "{}"]);
        assert!(codec.decode(&frames).is_ok());
        let mut changed = frames.clone();
        *changed.last_mut().unwrap() = Bytes::from_static(b"[]");
        assert_eq!(codec.decode(&changed), Err(WireError::Signature));
        let other = Codec::new(&Secret::new("other".into()));
        assert_eq!(other.decode(&frames), Err(WireError::Signature));
        assert_eq!(codec.decode(&frames[..4]), Err(WireError::Shape));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(text in ".*") {
            let codec = codec();
            let (_, frames) = codec.request("execute_request", &json!({"code": text})).unwrap();
            let message = codec.decode(&frames).unwrap();
            let content: serde_json::Value = serde_json::from_slice(&message.content).unwrap();
            prop_assert_eq!(content, json!({"code": text}));
        }

        #[test]
        fn noise_never_panics(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..9)) {
            let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            prop_assert!(codec().decode(&frames).is_err());
        }
    }
}
