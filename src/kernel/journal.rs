//! The last words of a kernel that died: text that it had written and not yet sent.
//!
//! ipykernel keeps printed text for up to 0.2 s, and a process that is killed takes it along. The
//! launcher (`launcher.py`) therefore also notes each write in a small memory-mapped file, which
//! outlives the process. After a death the server compares it with what has arrived and adds the
//! rest. The file is the kernel's to write: it is read within fixed bounds and trusted for nothing
//! but text.
//!
//! Layout, once for stdout and once for stderr: `written`, `flushed`, `cell` (little-endian u64:
//! bytes since the start of the kernel, bytes handed to ZeroMQ, `written` when the cell began), and
//! the first eight bytes of the SHA-256 of the cell's request id, to know whose text it is;
//! then a ring of [`RING`] bytes, where byte `n` stands at `n % RING`.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

/// Bytes of text that are kept for each stream.
pub const RING: u64 = 64 * 1024;
const HEADER: u64 = 32;
const TAIL: usize = 256;

/// What arrived of one stream of one cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    bytes: u64,
    tail: Vec<u8>,
}

impl Heard {
    /// Notes text as it arrived.
    pub fn hear(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        let bytes = text.as_bytes();
        let (_, new) = bytes.split_at(bytes.len().saturating_sub(TAIL));
        self.tail.extend_from_slice(new);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }
}

/// A kernel's journal, held open by the server.
#[derive(Debug)]
pub struct Journal {
    file: File,
}

impl Journal {
    /// Makes the file for a new kernel.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(2 * (HEADER + RING))?;
        Ok(Self { file })
    }

    /// Opens the file of a kernel that runs already.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)? })
    }

    /// Bytes that were written since the start of the kernel, to both streams.
    #[must_use]
    pub fn written(&self) -> Option<u64> {
        let stream = |stream: u64| {
            let mut number = [0u8; 8];
            self.file.read_exact_at(&mut number, stream * (HEADER + RING)).ok()?;
            Some(u64::from_le_bytes(number))
        };
        Some(stream(0)?.wrapping_add(stream(1)?))
    }

    /// Text of the current cell that never arrived, for stdout (0) or stderr (1).
    #[must_use]
    pub fn unsent(&self, stream: u64, request: &str, heard: &Heard) -> String {
        self.region(stream)
            .map_or_else(String::new, |region| region.unsent(fingerprint(request), heard))
    }

    /// Text of that request that was handed to ZeroMQ, as far as it is kept.
    #[must_use]
    pub fn sent(&self, stream: u64, request: &str) -> String {
        self.region(stream).map_or_else(String::new, |region| region.sent(fingerprint(request)))
    }

    fn region(&self, stream: u64) -> Option<Region> {
        let mut header = [0u8; HEADER as usize];
        let mut ring = vec![0u8; RING as usize];
        let start = stream * (HEADER + RING);
        let read = self
            .file
            .read_exact_at(&mut header, start)
            .and_then(|()| self.file.read_exact_at(&mut ring, start + HEADER));
        match read {
            Ok(()) => Some(Region::parse(&header, ring)),
            Err(error) => {
                tracing::warn!(%error, "the kernel's journal cannot be read");
                None
            }
        }
    }
}

/// How the launcher notes a request.
fn fingerprint(request: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, request.as_bytes());
    digest.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// One stream's part of the file.
struct Region {
    written: u64,
    flushed: u64,
    cell: u64,
    request: u64,
    ring: Vec<u8>,
}

impl Region {
    fn parse(header: &[u8; HEADER as usize], ring: Vec<u8>) -> Self {
        let number = |index: usize| {
            let bytes = header.get(index * 8..index * 8 + 8).and_then(|b| b.try_into().ok());
            bytes.map_or(0, u64::from_le_bytes)
        };
        Self { written: number(0), flushed: number(1), cell: number(2), request: number(3), ring }
    }

    fn unsent(&self, request: u64, heard: &Heard) -> String {
        // A kernel that died before it took this cell up still has the last one's text.
        if self.request != request {
            return String::new();
        }
        if self.cell > self.written || self.flushed > self.written {
            return String::new();
        }
        // Child processes' output arrives too but is not in the journal: only where the two texts
        // meet is the count of what arrived a position in it.
        let arrived = self.cell.saturating_add(heard.bytes);
        let from = if arrived <= self.written && self.holds(arrived, &heard.tail) {
            arrived
        } else {
            self.flushed.max(self.cell)
        };
        let kept = from.max(self.written.saturating_sub(RING));
        let text = String::from_utf8_lossy(&self.bytes(kept, self.written)).into_owned();
        if kept > from {
            return format!("\n[… {} bytes lost with the kernel …]\n{text}", kept - from);
        }
        text
    }

    fn sent(&self, request: u64) -> String {
        let end = self.flushed.min(self.written);
        if self.request != request || self.cell > end {
            return String::new();
        }
        let kept = self.cell.max(self.written.saturating_sub(RING)).min(end);
        let text = String::from_utf8_lossy(&self.bytes(kept, end)).into_owned();
        if kept > self.cell {
            return format!("[… {} bytes are not kept …]\n{text}", kept - self.cell);
        }
        text
    }

    /// Whether the journal's text before `end` is `tail`, as far back as it is kept.
    fn holds(&self, end: u64, tail: &[u8]) -> bool {
        let oldest = self.written.saturating_sub(RING).max(self.cell);
        let start = end.saturating_sub(tail.len() as u64).max(oldest).min(end);
        tail.ends_with(&self.bytes(start, end))
    }

    fn bytes(&self, from: u64, to: u64) -> Vec<u8> {
        let at = |n: u64| self.ring.get((n % RING) as usize).copied();
        (from..to).filter_map(at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(cell: u64, flushed: u64, text: &str) -> Region {
        let mut ring = vec![0; RING as usize];
        let written = cell + text.len() as u64;
        for (n, byte) in (cell..written).zip(text.bytes()) {
            ring[(n % RING) as usize] = byte;
        }
        Region { written, flushed, cell, request: 7, ring }
    }

    fn heard(text: &str) -> Heard {
        let mut heard = Heard::default();
        heard.hear(text);
        heard
    }

    #[test]
    fn what_did_not_arrive_is_found() {
        let check = |region: Region, arrived: &str, unsent: &str| {
            assert_eq!(region.unsent(7, &heard(arrived)), unsent, "{arrived:?}");
            assert_eq!(region.unsent(8, &heard(arrived)), "");
        };
        check(region(0, 0, "before death\n"), "", "before death\n");
        check(region(100, 100, "one\ntwo\n"), "one\n", "two\n");
        check(region(100, 108, "one\ntwo\n"), "one\ntwo\n", "");
        // Handed over to ZeroMQ, but it never arrived.
        check(region(100, 108, "one\ntwo\n"), "one\n", "two\n");
        // A child's line came in between: what was handed over counts as arrived.
        check(region(100, 104, "one\ntwo\n"), "one\nchild says\n", "two\n");
        // The ring's end lies inside the text.
        check(region(RING - 3, RING - 3, "abcdef"), "ab", "cdef");
        // Nonsense from a hostile kernel.
        check(Region { written: 1, flushed: 0, cell: 9, request: 7, ring: vec![] }, "", "");
        check(
            Region {
                written: u64::MAX,
                flushed: u64::MAX,
                cell: u64::MAX,
                request: 7,
                ring: vec![],
            },
            "x",
            "",
        );
    }

    #[test]
    fn what_was_sent_is_kept_for_who_comes_later() {
        let sent = |region: Region| region.sent(7);
        assert_eq!(sent(region(100, 104, "one\ntwo\n")), "one\n");
        assert_eq!(sent(region(100, 90, "one\n")), "", "nothing of this cell");
        assert_eq!(region(100, 104, "one\n").sent(8), "", "another cell's");
        let long = "x".repeat(RING as usize) + "end";
        let kept = sent(region(0, RING + 3, &long));
        assert!(kept.starts_with("[… 3 bytes are not kept …]\nx") && kept.ends_with("end"));
        let hostile = Region { written: 1, flushed: u64::MAX, cell: 9, request: 7, ring: vec![] };
        assert_eq!(sent(hostile), "");
    }

    #[test]
    fn more_than_the_ring_is_counted() {
        let text = "x".repeat(RING as usize) + "end";
        let unsent = region(0, 0, &text).unsent(7, &heard(""));
        assert!(unsent.starts_with("\n[… 3 bytes lost with the kernel …]\n"), "{}", &unsent[..60]);
        assert!(unsent.ends_with("end"));
    }

    #[test]
    fn a_new_file_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::create(&dir.path().join("journal")).unwrap();
        assert_eq!(journal.unsent(0, "r", &Heard::default()), "");
        assert_eq!(journal.unsent(1, "r", &heard("x")), "");
    }
}
