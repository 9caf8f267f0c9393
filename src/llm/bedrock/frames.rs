//! AWS's event stream out of bytes, wherever the bytes are cut.
//!
//! A message is: its length and that of its headers (each four bytes, big-endian), a CRC-32 of these
//! eight, the headers, the payload, and a CRC-32 of all before it. Pure; only the headers that tell
//! what a message is are kept.

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::llm) struct Frame {
    /// `event`, `exception` or `error`.
    pub(in crate::llm) message_type: String,
    /// Which one.
    pub(in crate::llm) event_type: String,
    /// What it carries.
    pub(in crate::llm) payload: Vec<u8>,
}

/// The bytes are no messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::llm) enum BadFrame {
    /// A checksum.
    #[error("a frame's checksum is wrong: bytes were changed on the way")]
    Checksum,
    /// A length.
    #[error("a frame's lengths cannot be: {whole} bytes with {headers} of headers")]
    Length {
        /// Of the message.
        whole: usize,
        /// Of its headers.
        headers: usize,
    },
    /// The headers.
    #[error("a frame's headers cannot be read")]
    Headers,
}

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at the end.
const TAIL: usize = 4;
/// AWS allows 16 MiB of payload and 128 KiB of headers.
const MOST: usize = 17 << 20;

/// What has come of a message.
#[derive(Debug, Default)]
pub(in crate::llm) struct Decoder {
    bytes: Vec<u8>,
    /// Nothing after a bad message can be trusted.
    broken: bool,
}

impl Decoder {
    /// Takes bytes, and gives the messages that end in them; after a bad one nothing more.
    pub(in crate::llm) fn push(&mut self, bytes: &[u8]) -> Vec<Result<Frame, BadFrame>> {
        self.bytes.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut done = 0;
        while !self.broken {
            match next(self.bytes.get(done..).unwrap_or_default()) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    done += length;
                    frames.push(Ok(frame));
                }
                Err(bad) => {
                    self.broken = true;
                    frames.push(Err(bad));
                }
            }
        }
        self.bytes.drain(..done.min(self.bytes.len()));
        if self.broken {
            self.bytes.clear();
        }
        frames
    }
}

/// The first message, if it is whole, and its length.
fn next(bytes: &[u8]) -> Result<Option<(Frame, usize)>, BadFrame> {
    let Some((prelude, _)) = bytes.split_at_checked(PRELUDE) else { return Ok(None) };
    let (lengths, checksum) = prelude.split_at(8);
    if crc32fast::hash(lengths) != number(checksum) {
        return Err(BadFrame::Checksum);
    }
    let (whole, headers) = lengths.split_at(4);
    let (whole, headers) = (number(whole) as usize, number(headers) as usize);
    if whole > MOST || headers > whole || whole - headers < PRELUDE + TAIL {
        return Err(BadFrame::Length { whole, headers });
    }
    let Some((message, _)) = bytes.split_at_checked(whole) else { return Ok(None) };
    let (content, checksum) = message.split_at(whole - TAIL);
    if crc32fast::hash(content) != number(checksum) {
        return Err(BadFrame::Checksum);
    }
    let (_, content) = content.split_at(PRELUDE);
    let (headers, payload) = content.split_at(headers);
    let mut frame = Frame { payload: payload.to_vec(), ..Frame::default() };
    read_headers(headers, &mut frame).ok_or(BadFrame::Headers)?;
    Ok(Some((frame, whole)))
}

fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// A header is its name's length and name, its kind, and its value, whose length the kind tells.
fn read_headers(mut rest: &[u8], frame: &mut Frame) -> Option<()> {
    while let Some((&length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(usize::from(length))?;
        let (&kind, after) = after.split_first()?;
        let (length, after) = match kind {
            0 | 1 => (0, after),
            2 => (1, after),
            3 => (2, after),
            4 => (4, after),
            5 | 8 => (8, after),
            6 | 7 => {
                let (length, after) = after.split_first_chunk::<2>()?;
                (usize::from(u16::from_be_bytes(*length)), after)
            }
            9 => (16, after),
            _ => return None,
        };
        let (value, after) = after.split_at_checked(length)?;
        if kind == 7 {
            let text = || String::from_utf8_lossy(value).into_owned();
            match name {
                b":message-type" => frame.message_type = text(),
                b":event-type" | b":exception-type" | b":error-code" => frame.event_type = text(),
                _ => {}
            }
        }
        rest = after;
    }
    Some(())
}

#[cfg(test)]
pub(in crate::llm) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(name: &str, kind: u8, value: &[u8]) -> Vec<u8> {
        let mut header = vec![u8::try_from(name.len()).unwrap()];
        header.extend(name.as_bytes());
        header.push(kind);
        if kind == 7 || kind == 6 {
            header.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        }
        header.extend(value);
        header
    }

    /// A message as AWS writes it.
    pub(in crate::llm) fn message(message_type: &str, event_type: &str, payload: &[u8]) -> Vec<u8> {
        let name = if message_type == "exception" { ":exception-type" } else { ":event-type" };
        let headers = [
            header(":date", 8, &7u64.to_be_bytes()),
            header("flag", 0, &[]),
            header(":message-type", 7, message_type.as_bytes()),
            header(name, 7, event_type.as_bytes()),
            header("id", 9, &[0; 16]),
        ]
        .concat();
        let whole = u32::try_from(PRELUDE + headers.len() + payload.len() + TAIL).unwrap();
        let mut bytes = whole.to_be_bytes().to_vec();
        bytes.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn decoded<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<Frame, BadFrame>> {
        let mut decoder = Decoder::default();
        parts.into_iter().flat_map(|part| decoder.push(part)).collect()
    }

    #[test]
    fn a_message_says_what_it_is_and_carries_its_payload() {
        let frame = |message: &str, event: &str, payload: &[u8]| Frame {
            message_type: message.to_owned(),
            event_type: event.to_owned(),
            payload: payload.to_vec(),
        };
        let bytes = [message("event", "chunk", b"{}"), message("exception", "throttling", b"")];
        let expected =
            [Ok(frame("event", "chunk", b"{}")), Ok(frame("exception", "throttling", b""))];
        assert_eq!(decoded([bytes.concat().as_slice()]), expected);
    }

    #[test]
    fn a_changed_byte_is_noticed_and_nothing_after_it_is_believed() {
        let bytes = [message("event", "chunk", b"{}"), message("event", "chunk", b"{}")].concat();
        for at in 0..bytes.len() / 2 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let frames = decoded([changed.as_slice()]);
            assert!(frames.iter().all(Result::is_err) && frames.len() <= 1, "{at}: {frames:?}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_anything_is_kept() {
        for (whole, headers) in [(0u32, 0u32), (15, 0), (16, 1), (u32::MAX, 0), (20, u32::MAX)] {
            let mut bytes = [whole.to_be_bytes(), headers.to_be_bytes()].concat();
            bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
            let (whole, headers) = (whole as usize, headers as usize);
            assert_eq!(decoded([bytes.as_slice()]), [Err(BadFrame::Length { whole, headers })]);
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..5),
            tail in proptest::collection::vec(any::<u8>(), 0..20),
            cuts in proptest::collection::vec(0..500usize, 0..8),
        ) {
            let mut stream: Vec<u8> =
                payloads.iter().flat_map(|payload| message("event", "chunk", payload)).collect();
            stream.extend(tail);
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
            let whole = decoded([stream.as_slice()]);
            prop_assert_eq!(&decoded(parts), &whole);
            prop_assert_eq!(&decoded(stream.chunks(1)), &whole);
            prop_assert!(whole.iter().filter(|it| it.is_ok()).count() >= payloads.len());
        }
    }
}
