//! The pure heart of the relay: follows a ZMTP 3 byte stream and checks what it announces.
//!
//! [`Inspector::feed`] is given every byte that a kernel sends, in any pieces, *before* it is
//! forwarded. It copies nothing and keeps only counters, so a length is judged when its last byte
//! comes, and no reader behind it ever sees a length above the caps.
//! Wire format: <https://rfc.zeromq.org/spec/23/> (greeting 64 bytes; then frames of one flag byte,
//! a length of 1 or 8 bytes, and the body).

use super::Settings;

const GREETING: u64 = 64;
const FLAG_MORE: u8 = 0b001;
const FLAG_LONG: u8 = 0b010;
const FLAG_COMMAND: u8 = 0b100;

/// What a kernel announced that no honest kernel announces.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// One frame above the cap.
    #[error(
        "announced a frame of {announced} bytes; the cap is {cap} (setting `wire.max_frame_bytes`)"
    )]
    Frame {
        /// Announced size in bytes.
        announced: u64,
        /// The cap in bytes.
        cap: u64,
    },
    /// The frames of one message together above the cap.
    #[error("sent a message of more than {cap} bytes (setting `wire.max_message_bytes`)")]
    Message {
        /// The cap in bytes.
        cap: u64,
    },
    /// A message of too many frames.
    #[error("sent a message of more than {cap} parts (setting `wire.max_parts`)")]
    Parts {
        /// The cap.
        cap: u32,
    },
    /// A flag byte that ZMTP does not have.
    #[error("sent a frame with the unknown flags {flags:#04x}, which is not ZMTP 3")]
    Flags {
        /// The byte.
        flags: u8,
    },
}

enum Expect {
    Greeting { left: u64 },
    Flags,
    Length { flags: u8, left: u8, value: u64 },
    Body { flags: u8, left: u64 },
}

/// Follows one direction of one connection.
pub struct Inspector {
    caps: Settings,
    expect: Expect,
    message_bytes: u64,
    parts: u32,
}

impl Inspector {
    /// A stream that begins with its greeting.
    #[must_use]
    pub fn new(caps: Settings) -> Self {
        Self { caps, expect: Expect::Greeting { left: GREETING }, message_bytes: 0, parts: 0 }
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// The [`Breach`]; nothing of `bytes` may be forwarded then, and the stream is over.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Breach> {
        let mut rest = bytes;
        while let Some((&first, tail)) = rest.split_first() {
            match self.expect {
                Expect::Greeting { left } => {
                    let (gone, after) = skip(rest, left);
                    rest = after;
                    self.expect = match left - gone {
                        0 => Expect::Flags,
                        left => Expect::Greeting { left },
                    };
                }
                Expect::Flags => {
                    rest = tail;
                    self.flags(first)?;
                }
                Expect::Length { flags, left, value } => {
                    rest = tail;
                    self.length(flags, left, value << 8 | u64::from(first))?;
                }
                Expect::Body { flags, left } => {
                    let (gone, after) = skip(rest, left);
                    rest = after;
                    self.body(flags, left - gone);
                }
            }
        }
        Ok(())
    }

    /// Whether the stream stands between two messages, where a further message may be put in.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        matches!(self.expect, Expect::Flags) && self.parts == 0
    }

    fn flags(&mut self, flags: u8) -> Result<(), Breach> {
        if flags & !(FLAG_MORE | FLAG_LONG | FLAG_COMMAND) != 0 {
            return Err(Breach::Flags { flags });
        }
        let left = if flags & FLAG_LONG != 0 { 8 } else { 1 };
        self.expect = Expect::Length { flags, left, value: 0 };
        Ok(())
    }

    fn length(&mut self, flags: u8, left: u8, value: u64) -> Result<(), Breach> {
        if left > 1 {
            self.expect = Expect::Length { flags, left: left - 1, value };
            return Ok(());
        }
        let Settings { max_frame_bytes, max_message_bytes, max_parts } = self.caps;
        if value > max_frame_bytes {
            return Err(Breach::Frame { announced: value, cap: max_frame_bytes });
        }
        if flags & FLAG_COMMAND == 0 {
            self.parts += 1;
            self.message_bytes = self.message_bytes.saturating_add(value);
            if self.parts > max_parts {
                return Err(Breach::Parts { cap: max_parts });
            }
            if self.message_bytes > max_message_bytes {
                return Err(Breach::Message { cap: max_message_bytes });
            }
        }
        self.body(flags, value);
        Ok(())
    }

    fn body(&mut self, flags: u8, left: u64) {
        if left > 0 {
            self.expect = Expect::Body { flags, left };
            return;
        }
        if flags & (FLAG_MORE | FLAG_COMMAND) == 0 {
            self.message_bytes = 0;
            self.parts = 0;
        }
        self.expect = Expect::Flags;
    }
}

/// Drops up to `most` bytes: how many went, and what is left.
fn skip(bytes: &[u8], most: u64) -> (u64, &[u8]) {
    let at = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
    (at as u64, bytes.split_at(at).1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPS: Settings =
        Settings { max_frame_bytes: 1000, max_message_bytes: 1500, max_parts: 4 };

    fn frame(more: bool, body: &[u8]) -> Vec<u8> {
        let mut bytes = match u8::try_from(body.len()) {
            Ok(short) => vec![u8::from(more), short],
            Err(_) => {
                let mut long = vec![u8::from(more) | FLAG_LONG];
                long.extend((body.len() as u64).to_be_bytes());
                long
            }
        };
        bytes.extend(body);
        bytes
    }

    fn judge(frames: &[u8]) -> Result<(), Breach> {
        let mut stream = vec![0u8; 64];
        stream.extend(frames);
        Inspector::new(CAPS).feed(&stream)
    }

    #[test]
    fn nine_bytes_that_would_abort_a_naive_reader_are_refused() {
        let mut header = vec![FLAG_LONG];
        header.extend(1_000_000_000_000u64.to_be_bytes());
        assert_eq!(judge(&header), Err(Breach::Frame { announced: 1_000_000_000_000, cap: 1000 }));
    }

    #[test]
    fn caps_hold_for_frames_messages_and_parts() {
        assert_eq!(judge(&frame(false, &[1; 1000])), Ok(()));
        assert!(matches!(judge(&frame(false, &[1; 1001])), Err(Breach::Frame { .. })));
        let two = [frame(true, &[1; 800]), frame(false, &[1; 800])].concat();
        assert!(matches!(judge(&two), Err(Breach::Message { .. })));
        let five = [frame(true, b"").repeat(4), frame(false, b"")].concat();
        assert!(matches!(judge(&five), Err(Breach::Parts { .. })));
        let apart = [frame(true, b"").repeat(3), frame(false, b"")].concat().repeat(100);
        assert_eq!(judge(&apart), Ok(()));
        assert_eq!(judge(&[0xff]), Err(Breach::Flags { flags: 0xff }));
    }

    #[test]
    fn knows_where_a_message_ends() {
        let mut inspector = Inspector::new(CAPS);
        assert!(!inspector.between_messages());
        inspector.feed(&[0; 64]).unwrap();
        assert!(inspector.between_messages());
        inspector.feed(&frame(true, b"a")).unwrap();
        assert!(!inspector.between_messages());
        inspector.feed(&frame(false, b"b")).unwrap();
        assert!(inspector.between_messages());
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_bytes_are_cut(
            bodies in prop::collection::vec((any::<bool>(), 0usize..1200), 0..8),
            cuts in prop::collection::vec(1usize..300, 1..20),
        ) {
            let mut stream = vec![0u8; 64];
            for (more, size) in bodies {
                stream.extend(frame(more, &vec![7; size]));
            }
            let whole = Inspector::new(CAPS).feed(&stream);
            let mut inspector = Inspector::new(CAPS);
            let mut rest = stream.as_slice();
            let mut cuts = cuts.iter().cycle();
            let mut pieces = Ok(());
            while !rest.is_empty() && pieces.is_ok() {
                let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                pieces = inspector.feed(piece);
                rest = after;
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
