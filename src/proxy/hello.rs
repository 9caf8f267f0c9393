//! What a client of TLS says first: the name of the host that it means, which nobody encrypts.
//!
//! A pure reader of bytes that may come in any pieces. It reads the one thing that it is for, and
//! takes nothing that it does not understand for harmless.

/// Longest hello that is waited for, in bytes; a usual one takes less than 2,000.
pub(super) const LONGEST: usize = 16 * 1024;

/// The first byte of TLS's handshake.
const HANDSHAKE: u8 = 22;

/// What has been said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// More must come before that can be told.
    More,
    /// It is no TLS.
    Other,
    /// A hello; the name of the host, if it has one.
    Hello(Option<String>),
    /// It begins as TLS, and is none.
    Broken,
}

/// Reads the beginning of what a client sends.
pub(super) fn read(bytes: &[u8]) -> Said {
    match bytes.first() {
        None => return Said::More,
        Some(&HANDSHAKE) => {}
        Some(_) => return Said::Other,
    }
    match handshake(bytes) {
        Err(said) => said,
        Ok(hello) => match name(&mut Reader(&hello)) {
            Some(name) => Said::Hello(name),
            None => Said::Broken,
        },
    }
}

/// The whole first message of the handshake, which may lie in several records.
fn handshake(bytes: &[u8]) -> Result<Vec<u8>, Said> {
    let (mut records, mut message) = (Reader(bytes), Vec::new());
    loop {
        if let Some(hello) = whole(&message)? {
            return Ok(hello);
        }
        if message.len() > LONGEST {
            return Err(Said::Broken);
        }
        let Some(&[kind, major, _, high, low]) = records.take(5).and_then(<[u8]>::first_chunk)
        else {
            return Err(Said::More);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || major != 3 || length == 0 || length > LONGEST {
            return Err(Said::Broken);
        }
        message.extend_from_slice(records.take(length).ok_or(Said::More)?);
    }
}

/// The body of a message that is whole.
fn whole(message: &[u8]) -> Result<Option<Vec<u8>>, Said> {
    let Some(&[kind, a, b, c]) = message.first_chunk() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
    if kind != 1 || length > LONGEST {
        return Err(Said::Broken);
    }
    Ok(message.get(4..4 + length).map(<[u8]>::to_vec))
}

/// The name in a hello; `None` when it is not as it should be.
fn name(hello: &mut Reader<'_>) -> Option<Option<String>> {
    // Version and random number, then session, ciphers and compressions.
    hello.take(34)?;
    hello.list(1)?;
    hello.list(2)?;
    hello.list(1)?;
    if hello.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(hello.list(2)?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let (kind, body) = (extensions.number(2)?, extensions.list(2)?);
        if kind == 0 {
            // Said twice, it is for two who shall read two things.
            if name.is_some() {
                return None;
            }
            name = Some(server_name(body)?);
        }
    }
    Some(name)
}

fn server_name(body: &[u8]) -> Option<String> {
    let mut names = Reader(Reader(body).list(2)?);
    let (kind, name) = (names.number(1)?, names.list(2)?);
    if kind != 0 || !names.0.is_empty() {
        return None;
    }
    String::from_utf8(name.to_vec()).ok()
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of that many bytes, the greatest first.
    fn number(&mut self, bytes: usize) -> Option<usize> {
        self.take(bytes).map(|all| all.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    /// Bytes behind their length, which takes so many bytes.
    fn list(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let length = self.number(bytes)?;
        self.take(length)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hello as a client says it.
    pub(in super::super) fn hello(names: &[&str]) -> Vec<u8> {
        let long = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let mut extensions = vec![0, 43, 0, 3, 2, 3, 4];
        for name in names {
            extensions.extend([0, 0]);
            extensions.extend(long(name.len() + 5));
            extensions.extend(long(name.len() + 3));
            extensions.push(0);
            extensions.extend(long(name.len()));
            extensions.extend(name.bytes());
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([1, 9, 0, 2, 0x13, 1, 1, 0]);
        body.extend(long(extensions.len()));
        body.extend(extensions);
        let mut message = vec![1, 0];
        message.extend(long(body.len()));
        message.extend(body);
        let mut record = vec![HANDSHAKE, 3, 1];
        record.extend(long(message.len()));
        record.extend(message);
        record
    }

    /// The same in records of so many bytes.
    fn in_pieces(hello: &[u8], size: usize) -> Vec<u8> {
        let piece = |piece: &[u8]| {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            [&[HANDSHAKE, 3, 1], length.as_slice(), piece].concat()
        };
        hello[5..].chunks(size).flat_map(piece).collect()
    }

    #[test]
    fn the_name_is_read_however_the_hello_comes() {
        let named = Said::Hello(Some("example.com".into()));
        let whole = hello(&["example.com"]);
        assert_eq!(read(&whole), named);
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Said::More, "{end}");
        }
        for size in [1, 2, 3, 50] {
            assert_eq!(read(&in_pieces(&whole, size)), named, "{size}");
        }
        assert_eq!(read(&[whole, vec![20, 3, 3, 0, 1, 1]].concat()), named);
        assert_eq!(read(&hello(&[])), Said::Hello(None));
    }

    #[test]
    fn what_only_looks_like_a_hello_is_broken() {
        assert_eq!(read(&hello(&["example.com", "other.test"])), Said::Broken);
        assert_eq!(read(b"GET / HTTP/1.1"), Said::Other);
        assert_eq!(read(b"SSH-2.0"), Said::Other);
        let mut wrong = hello(&["example.com"]);
        wrong[5] = 2;
        assert_eq!(read(&wrong), Said::Broken);
        assert_eq!(read(&[HANDSHAKE, 3, 1, 0, 0]), Said::Broken);
        assert_eq!(read(&[HANDSHAKE, 9, 1, 0, 5]), Said::Broken);
        assert_eq!(read(&[HANDSHAKE, 3, 1, 0xff, 0xff]), Said::Broken);
        let endless = [HANDSHAKE, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff];
        assert_eq!(read(&endless), Said::Broken);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&[&[HANDSHAKE, 3, 1], bytes.as_slice()].concat());
        }

        #[test]
        fn a_hello_with_a_byte_changed_has_no_name_that_was_not_in_it(
            at in 0usize..90,
            to in any::<u8>(),
        ) {
            let mut bytes = hello(&["example.com"]);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Said::Hello(Some(name)) = read(&bytes) {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                prop_assert!(text.contains(&name), "{name}");
            }
        }
    }
}
