//! Everything that a session's cells put out, kept on disk up to a bound; beyond it the oldest goes.
//!
//! A log of bytes in anonymous files: nothing has a name that a cell could find or that could
//! outlive the server. When the disk does not take more, the newest stays in memory and the fault is
//! told. Knows nothing of what the bytes are.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Files that a full spool consists of: one of them is what goes at once.
const CHUNKS: u64 = 16;
/// What is kept without a disk, in bytes.
const IN_MEMORY: u64 = 1 << 20;

/// Where some bytes stand in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// The log.
pub struct Spool {
    folder: PathBuf,
    limit: u64,
    chunks: Mutex<Chunks>,
}

#[derive(Default)]
struct Chunks {
    all: VecDeque<Chunk>,
    end: u64,
    fault: Option<String>,
}

struct Chunk {
    begin: u64,
    len: u64,
    store: Store,
}

enum Store {
    File(File),
    Memory(Vec<u8>),
}

impl Spool {
    /// An empty log of at most `limit` bytes, in `folder`, which is made when it is needed.
    #[must_use]
    pub fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit, chunks: Mutex::default() }
    }

    fn chunks(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why output is kept in memory only, when the disk failed.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.chunks().fault.clone()
    }

    /// Adds bytes at the end.
    pub(super) fn append(&self, bytes: &[u8]) -> Span {
        let mut chunks = self.chunks();
        let span = Span { at: chunks.end, len: bytes.len() as u64 };
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.room(&mut chunks);
            let (now, later) = rest.split_at(rest.len().min(room));
            if let Some(Err(error)) = chunks.all.back_mut().map(|chunk| chunk.push(now)) {
                chunks.fail(&error);
                continue;
            }
            chunks.end += now.len() as u64;
            rest = later;
        }
        span
    }

    /// Bytes that the last chunk still takes, at least one; drops old chunks to make room.
    fn room(&self, chunks: &mut Chunks) -> usize {
        let limit = if chunks.fault.is_some() { IN_MEMORY.min(self.limit) } else { self.limit };
        let size = (limit / CHUNKS).max(1);
        let full = chunks.all.back().is_none_or(|chunk| chunk.len >= size);
        if full {
            while chunks.all.front().is_some_and(|first| chunks.end - first.begin > limit - size) {
                chunks.all.pop_front();
            }
            let store = match &chunks.fault {
                Some(_) => Store::Memory(Vec::new()),
                None => self.file(chunks),
            };
            let begin = chunks.end;
            chunks.all.push_back(Chunk { begin, len: 0, store });
        }
        let used = chunks.all.back().map_or(0, |chunk| chunk.len);
        usize::try_from(size.saturating_sub(used).max(1)).unwrap_or(usize::MAX)
    }

    fn file(&self, chunks: &mut Chunks) -> Store {
        let made = std::fs::create_dir_all(&self.folder)
            .and_then(|()| tempfile::tempfile_in(&self.folder));
        match made {
            Ok(file) => Store::File(file),
            Err(error) => {
                chunks.fail(&error);
                Store::Memory(Vec::new())
            }
        }
    }

    /// Bytes `from..to` of a span; those that were dropped are missing at the front.
    pub(super) fn read(&self, span: Span, from: u64, to: u64) -> Vec<u8> {
        let chunks = self.chunks();
        let (from, to) = (span.at + from, span.at + to.min(span.len));
        let mut bytes = Vec::new();
        for chunk in &chunks.all {
            let begin = from.max(chunk.begin);
            let end = to.min(chunk.begin + chunk.len);
            if begin < end
                && let Err(error) =
                    chunk.read(begin - chunk.begin, (end - begin) as usize, &mut bytes)
            {
                tracing::warn!(%error, "cannot read kept output");
            }
        }
        bytes
    }

    /// How many bytes at the front of a span were dropped.
    pub(super) fn dropped(&self, span: Span) -> u64 {
        let chunks = self.chunks();
        let oldest = chunks.all.front().map_or(chunks.end, |chunk| chunk.begin);
        oldest.saturating_sub(span.at).min(span.len)
    }
}

impl Chunks {
    /// From here on everything goes into memory.
    fn fail(&mut self, error: &io::Error) {
        tracing::warn!(%error, "cannot keep output on disk");
        self.fault = Some(error.to_string());
        let begin = self.end;
        self.all.push_back(Chunk { begin, len: 0, store: Store::Memory(Vec::new()) });
    }
}

impl Chunk {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.store {
            Store::File(file) => file.write_all_at(bytes, self.len)?,
            Store::Memory(memory) => memory.extend_from_slice(bytes),
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn read(&self, at: u64, len: usize, into: &mut Vec<u8>) -> io::Result<()> {
        match &self.store {
            Store::File(file) => {
                let before = into.len();
                into.resize(before + len, 0);
                let Some(room) = into.get_mut(before..) else { return Ok(()) };
                file.read_exact_at(room, at)
            }
            Store::Memory(memory) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                into.extend_from_slice(memory.get(at..at + len).unwrap_or_default());
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &Spool, span: Span) -> String {
        String::from_utf8(spool.read(span, 0, span.len)).unwrap()
    }

    #[test]
    fn the_oldest_goes_when_the_bound_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("made"), 160);
        let old = spool.append(b"old");
        assert_eq!(all(&spool, old), "old");
        let long = spool.append(&[b'x'; 150]);
        assert_eq!((spool.dropped(old), spool.dropped(long)), (0, 0));
        let new = spool.append(b"the newest");
        assert_eq!((spool.dropped(old), spool.dropped(new)), (3, 0));
        assert_eq!((all(&spool, old).as_str(), all(&spool, new).as_str()), ("", "the newest"));
        assert_eq!(spool.dropped(long) + all(&spool, long).len() as u64, 150);
        assert_eq!(std::fs::read_dir(folder.path().join("made")).unwrap().count(), 0, "no names");
    }

    #[test]
    fn without_a_disk_the_newest_stays_in_memory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let spool = Spool::new(file.path().join("no folder"), 1 << 30);
        let span = spool.append(b"kept");
        assert!(spool.fault().is_some());
        assert_eq!(all(&spool, span), "kept");
        spool.append(&vec![b'x'; 2 << 20]);
        assert_eq!(spool.dropped(span), 4);
    }
}
