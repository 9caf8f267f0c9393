//! Server-sent events out of bytes, wherever the bytes are cut.
//!
//! Pure: [`Decoder::push`] takes what has come and gives the events that are whole with it. The rules
//! are those of the HTML standard (section "Server-sent events"), with two exceptions: ids and retry
//! times are not read, for a model's answer is never resumed, and what stands there at the end
//! without an empty line after it still counts ([`Decoder::end`]).

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its data, lines joined.
    pub data: String,
}

/// An event is larger than any answer's part can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MOST} bytes; the other side does not speak the protocol")]
pub(super) struct TooLong;

/// Most bytes of one event.
pub(super) const MOST: usize = 32 << 20;

/// What has come of an event.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a carriage return: a line feed after it ends no other line.
    after_return: bool,
    begun: bool,
}

impl Decoder {
    /// Takes bytes, and gives the events that end in them.
    ///
    /// # Errors
    /// [`TooLong`] for an event beyond [`MOST`].
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        while let Some(&first) = bytes.first() {
            if self.after_return && first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
            }
            self.after_return = false;
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.line.extend_from_slice(line);
            if self.line.len() + self.event.data.len() > MOST {
                return Err(TooLong);
            }
            let Some((&end, rest)) = rest.split_first() else { break };
            self.after_return = end == b'\r';
            events.extend(self.end_of_line());
            bytes = rest;
        }
        Ok(events)
    }

    /// The event that stands there when the other side has closed.
    pub(super) fn end(&mut self) -> Option<Event> {
        if !self.line.is_empty() {
            let whole = self.end_of_line();
            if whole.is_some() {
                return whole;
            }
        }
        self.dispatch()
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (field, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value));
        match field {
            b"event" => self.event.name = value.into_owned(),
            b"data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.has_data = true;
                self.event.data.push_str(&value);
            }
            // Comments (an empty field), ids, retry times, and what later standards bring.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let event = std::mem::take(&mut self.event);
        std::mem::take(&mut self.has_data).then_some(event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events: Vec<_> =
            parts.into_iter().flat_map(|part| decoder.push(part).unwrap()).collect();
        events.extend(decoder.end());
        events
    }

    fn check(text: &str, expected: &[(&str, &str)]) {
        let events = decoded([text.as_bytes()]);
        let events: Vec<_> =
            events.iter().map(|event| (event.name.as_str(), event.data.as_str())).collect();
        assert_eq!(events, expected, "{text:?}");
    }

    #[test]
    fn events_are_those_of_the_standard() {
        check("event: a\ndata: 1\n\ndata: 2\n\n", &[("a", "1"), ("", "2")]);
        check("data: a\r\ndata:b\r\n\r\n", &[("", "a\nb")]);
        check("data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check(": a comment\n\nevent: unused\n\ndata\n\n", &[("", "")]);
        check("data:  two\nid: 1\nretry: 5\nx: y\n\n", &[("", " two")]);
        check("data: ä€😀\n\n", &[("", "ä€😀")]);
    }

    #[test]
    fn what_lacks_its_empty_line_at_the_end_still_counts() {
        check("data: [DONE]", &[("", "[DONE]")]);
        check("data: [DONE]\n", &[("", "[DONE]")]);
        check("data: a\n\nevent: b", &[("", "a")]);
    }

    #[test]
    fn an_event_without_end_is_not_kept_for_ever() {
        let mut decoder = Decoder::default();
        let part = vec![b'x'; 1 << 20];
        let results: Vec<_> = (0..40).map(|_| decoder.push(&part)).collect();
        assert_eq!(results.first(), Some(&Ok(Vec::new())));
        assert_eq!(results.last(), Some(&Err(TooLong)));
    }

    fn any_stream() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("data:".to_owned()),
            Just("data: ".to_owned()),
            Just("event: x".to_owned()),
            Just(":".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\r".to_owned()),
            Just("\n\n".to_owned()),
            Just("\u{feff}".to_owned()),
            "[ a-zä😀:]{0,4}",
        ];
        let words =
            proptest::collection::vec(word, 0..40).prop_map(|all| all.concat().into_bytes());
        prop_oneof![4 => words, 1 => proptest::collection::vec(any::<u8>(), 0..80)]
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            stream in any_stream(), cuts in proptest::collection::vec(0..80usize, 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
            prop_assert_eq!(decoded(parts), decoded([stream.as_slice()]));
        }

        #[test]
        fn byte_by_byte_is_the_same_too(stream in any_stream()) {
            prop_assert_eq!(decoded(stream.chunks(1)), decoded([stream.as_slice()]));
        }
    }
}
