//! What the fuzz targets of `tests/fuzz` call: bytes of any kind go through the decoders, wherever they
//! are cut, and come out the same. Built only for them, and for the tests here.

use super::{
    bedrock::frames,
    draft::Draft,
    route::Kind,
    sse,
    wire::{self, Feed},
};

/// Server-sent events: the bytes whole, in parts, and one by one. The first byte tells how they are cut.
///
/// # Panics
/// When it matters where they are cut.
pub fn events(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let decoded = |size: usize| {
        let mut decoder = sse::Decoder::default();
        let mut events = Vec::new();
        for part in bytes.chunks(size.max(1)) {
            match decoder.push(part) {
                Ok(more) => events.extend(more),
                Err(_) => return (events, true),
            }
        }
        events.extend(decoder.end());
        (events, false)
    };
    let whole = decoded(bytes.len());
    assert_eq!(decoded(usize::from(*cut)), whole);
    assert_eq!(decoded(1), whole);
}

/// Bedrock's event stream: the bytes as they are, and as the headers and payload of a message whose
/// lengths and checksums are right. The first byte tells how they are cut.
///
/// # Panics
/// When it matters where they are cut, or a message does not come out with its payload.
pub fn messages(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = usize::from(*cut).max(1);
    same_messages(bytes, cut);
    let (headers, payload) = bytes.split_at(cut.min(bytes.len()));
    let stream = [message(headers, payload), message(&[], payload)].concat();
    same_messages(&stream, cut);
    let sound = frames::Decoder::default().push(&message(&[], payload));
    let sound: Vec<_> = sound.into_iter().map(|frame| frame.map(|frame| frame.payload)).collect();
    assert_eq!(sound, [Ok(payload.to_vec())]);
}

fn same_messages(bytes: &[u8], cut: usize) {
    let decoded = |size: usize| {
        let mut decoder = frames::Decoder::default();
        bytes.chunks(size.max(1)).flat_map(|part| decoder.push(part)).collect::<Vec<_>>()
    };
    let whole = decoded(bytes.len());
    assert_eq!(decoded(cut), whole);
    assert_eq!(decoded(1), whole);
}

fn message(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut message = Vec::new();
    message.extend(length(16 + headers.len() + payload.len()));
    message.extend(length(headers.len()));
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}

/// Whole answers, on every wire: whatever a provider sends is an answer or a failure.
pub fn answers(bytes: &[u8]) {
    for kind in [Kind::Anthropic, Kind::OpenAi, Kind::Bedrock] {
        let (mut feed, mut draft) = (Feed::new(kind), Draft::default());
        let pieces = feed.push(bytes).and_then(|mut pieces| {
            pieces.extend(feed.end(draft.is_stopped())?);
            Ok(pieces)
        });
        pieces.into_iter().flatten().for_each(|piece| drop(draft.take(piece)));
        drop(draft.finish());
        drop(wire::whole(kind, bytes));
        drop(wire::failure(kind, 400, bytes));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_provider_sends_is_an_answer_or_a_failure(
            bytes in proptest::collection::vec(any::<u8>(), 0..300), words in "[-a-z0-9{}\":,\\[\\]\n ]{0,200}"
        ) {
            for bytes in [bytes.as_slice(), words.as_bytes(), format!("data: {words}\n\n").as_bytes()] {
                events(bytes);
                messages(bytes);
                answers(bytes);
            }
        }
    }
}
