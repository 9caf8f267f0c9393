//! Messages of kernels as a gateway's WebSocket carries them, as values: the subprotocol
//! [`SUBPROTOCOL`], and the JSON of gateways that do not know it.
//!
//! Source: <https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html>. What
//! comes is untrusted. The parts of a message are those of the wire format without a signature: the
//! gateway signs.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::kernel::{channels::Channel, json, wire};

/// The subprotocol that is asked for.
pub(super) const SUBPROTOCOL: &str = "v1.kernel.websocket.jupyter.org";

/// Most parts of a message: its channel, its four parts and its buffers.
const MOST: u64 = 1024;
/// Bytes of a number.
const NUMBER: usize = 8;

/// A message of the subprotocol: a table of offsets, the channel, and the parts, which are header, parent,
/// metadata, content and buffers.
pub(super) fn encode(channel: Channel, parts: &[Bytes]) -> Vec<u8> {
    let all =
        || std::iter::once(channel.word().as_bytes()).chain(parts.iter().map(|part| &part[..]));
    // As many offsets as there are parts, and the end of the last one.
    let count = parts.len() + 2;
    let mut offset = NUMBER * (count + 1);
    let mut text = Vec::with_capacity(offset + all().map(<[u8]>::len).sum::<usize>());
    text.extend((count as u64).to_le_bytes());
    text.extend((offset as u64).to_le_bytes());
    for part in all() {
        offset += part.len();
        text.extend((offset as u64).to_le_bytes());
    }
    all().for_each(|part| text.extend(part));
    text
}

/// The channel and the frames of a message, as [`wire::Codec`] takes them; nothing of what is none.
pub(super) fn decode(text: &Bytes) -> Option<(Channel, Vec<Bytes>)> {
    let number = |at: u64| {
        let at = usize::try_from(at).ok()?.checked_mul(NUMBER)?;
        let bytes = text.get(at..at.checked_add(NUMBER)?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let part = |index: u64| {
        let from = usize::try_from(number(index)?).ok()?;
        let to = usize::try_from(number(index + 1)?).ok()?;
        text.get(from..to)?;
        Some(text.slice(from..to))
    };
    let count = number(0).filter(|count| (6..=MOST).contains(count))?;
    let channel = Channel::of(std::str::from_utf8(&part(1)?).ok()?)?;
    let parts = (2..count).map(part).collect::<Option<Vec<_>>>()?;
    Some((channel, wire::unsigned(parts)))
}

/// The same message as JSON, without its buffers, which nothing that husk sends has.
pub(super) fn encode_text(channel: Channel, parts: &[Bytes]) -> Option<String> {
    let [header, parent, metadata, content, ..] = parts else { return None };
    let text = |part: &Bytes| String::from_utf8(part.to_vec()).ok();
    Some(format!(
        r#"{{"channel":"{}","header":{},"parent_header":{},"metadata":{},"content":{},"buffers":[]}}"#,
        channel.word(),
        text(header)?,
        text(parent)?,
        text(metadata)?,
        text(content)?
    ))
}

json::object!(Text { channel, header, parent_header, metadata, content });

/// The channel and the frames of a message that came as JSON.
pub(super) fn decode_text(text: &[u8]) -> Option<(Channel, Vec<Bytes>)> {
    let message: Text<'_> = serde_json::from_slice(text).ok()?;
    let channel = Channel::of(&json::text(message.channel))?;
    let part =
        |raw: Option<&RawValue>| Bytes::copy_from_slice(raw.map_or("{}", RawValue::get).as_bytes());
    message.header?;
    let parts = [message.header, message.parent_header, message.metadata, message.content];
    Some((channel, wire::unsigned(parts.map(part).to_vec())))
}

/// The same of a message that came as JSON with buffers: how many parts there are, where each begins, and
/// the JSON as the first of them.
pub(super) fn decode_with_buffers(text: &[u8]) -> Option<(Channel, Vec<Bytes>)> {
    let number = |at: usize| {
        let bytes = text.get(at * 4..at * 4 + 4)?;
        usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
    };
    let count = number(0)?;
    let end = if count > 1 { number(2)? } else { text.len() };
    decode_text(text.get(number(1)?..end)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(texts: &[&str]) -> Vec<Bytes> {
        texts.iter().map(|text| Bytes::copy_from_slice(text.as_bytes())).collect()
    }

    #[test]
    fn a_message_is_as_the_subprotocol_has_it() {
        let text = encode(Channel::Shell, &parts(&["{}", "{}", "{}", "[1]"]));
        // Made by jupyter_server's serialize_msg_to_ws_v1.
        let numbers = [6u64, 56, 61, 63, 65, 67, 70];
        let expected: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        assert_eq!(text, [&expected[..], b"shell{}{}{}[1]"].concat());
    }

    #[test]
    fn what_is_encoded_decodes_in_both_forms() {
        let message = parts(&[r#"{"msg_type":"status"}"#, "{}", "{}", r#"{"a":[1]}"#]);
        let expected = Some((Channel::Iopub, wire::unsigned(message.clone())));
        assert_eq!(decode(&encode(Channel::Iopub, &message).into()), expected);
        let text = encode_text(Channel::Iopub, &message).unwrap();
        assert_eq!(decode_text(text.as_bytes()), expected);
        let head: Vec<u8> =
            [2, 12, 12 + text.len() as u32].iter().flat_map(|n| n.to_be_bytes()).collect();
        let buffered = [&head[..], text.as_bytes(), b"buffer"].concat();
        assert_eq!(decode_with_buffers(&buffered), expected);
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in prop::collection::vec(any::<u8>(), 0..200), count in 0u64..20) {
            let noise = Bytes::from(text.clone());
            let _ = decode(&noise);
            let _ = decode_text(&text);
            let _ = decode_with_buffers(&text);
            // The same behind a count that is believed.
            let counted = [&count.to_le_bytes()[..], &text].concat();
            let _ = decode(&counted.into());
        }
    }
}
