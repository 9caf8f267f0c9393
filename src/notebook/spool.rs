//! The cells' JSON in a file without a name that only the server has; in memory is only where each
//! one lies, so that a session may have any number of cells.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::PathBuf,
};

use super::nbformat::Text;

/// Bytes of replaced cells that are left lying at least.
const SLACK: u64 = 8 << 20;

/// The cells in their order.
pub(super) struct Spool {
    folder: PathBuf,
    file: File,
    /// Where the next cell goes.
    end: u64,
    /// Bytes of all cells, without those of replaced ones.
    live: u64,
    cells: Vec<Place>,
    /// Before this one no cell has outputs that could be dropped.
    dropped: usize,
}

/// Where a cell lies: its JSON up to the outputs, the outputs, the rest.
struct Place {
    id: Box<str>,
    start: u64,
    outputs: Range<u64>,
    end: u64,
}

impl Place {
    fn size(&self) -> u64 {
        self.end - self.start
    }
}

impl Spool {
    pub(super) fn make(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let file = tempfile::tempfile_in(&folder)?;
        Ok(Self { folder, file, end: 0, live: 0, cells: Vec::new(), dropped: 0 })
    }

    /// Adds a cell, or puts it in the place of the one with its id.
    pub(super) fn put(&mut self, id: &str, text: &Text) -> io::Result<()> {
        let at = |offset: usize| self.end + offset as u64;
        let place = Place {
            id: id.into(),
            start: self.end,
            outputs: at(text.outputs.start)..at(text.outputs.end),
            end: at(text.json.len()),
        };
        // Nearly always it is a new cell or one of the last.
        let index = self.cells.iter().rposition(|cell| *cell.id == *id);
        self.write(index, place, &text.json)
    }

    /// Replaces the outputs of the oldest cells that have any worth it, until all cells together
    /// are within `most` bytes; `note` gives what stands in their place.
    pub(super) fn shrink(&mut self, most: u64, note: impl Fn(&str) -> Vec<u8>) -> io::Result<()> {
        while self.live > most
            && let Some(cell) = self.cells.get(self.dropped)
        {
            let (index, id, note) = (self.dropped, cell.id.clone(), note(&cell.id));
            let (before, outputs, after) =
                (cell.start..cell.outputs.start, cell.outputs.clone(), cell.outputs.end..cell.end);
            if outputs.end - outputs.start > note.len() as u64 {
                let mut json = self.read(before)?;
                let start = json.len();
                json.extend(note);
                let outputs = start..json.len();
                json.extend(self.read(after)?);
                self.put(&id, &Text { json, outputs })?;
            }
            self.dropped = index + 1;
        }
        Ok(())
    }

    /// Copies all cells to the end of a file, without the first `skip` bytes.
    pub(super) fn copy_to(&self, to: &mut impl Write, skip: u64) -> io::Result<()> {
        let mut run = 0..0;
        for (index, cell) in self.cells.iter().enumerate() {
            if index == 0 {
                run = cell.start + skip..cell.start;
            } else if cell.start != run.end {
                self.copy(run, to)?;
                run = cell.start..cell.start;
            }
            run.end = cell.end;
        }
        self.copy(run, to)
    }

    fn copy(&self, run: Range<u64>, to: &mut impl Write) -> io::Result<()> {
        let mut from = &self.file;
        from.seek(SeekFrom::Start(run.start))?;
        // Between files the system copies by itself.
        let length = run.end - run.start;
        let copied = io::copy(&mut from.take(length), to)?;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes)
    }

    fn write(&mut self, index: Option<usize>, place: Place, json: &[u8]) -> io::Result<()> {
        self.file.write_all_at(json, self.end)?;
        self.end = place.end;
        self.live += place.size();
        match index.and_then(|index| Some((index, self.cells.get_mut(index)?))) {
            Some((index, cell)) => {
                self.live -= cell.size();
                *cell = place;
                self.dropped = self.dropped.min(index);
            }
            None => self.cells.push(place),
        }
        if self.end > 2 * self.live + SLACK {
            // The cell is safe as it is; what is left lying can go another time.
            let _ = self.compact();
        }
        Ok(())
    }

    /// Moves all cells to a new file, so that nothing of replaced ones is left.
    fn compact(&mut self) -> io::Result<()> {
        let file = tempfile::tempfile_in(&self.folder)?;
        self.copy_to(&mut &file, 0)?;
        let mut end = 0;
        for cell in &mut self.cells {
            let (by, size) = (cell.start, cell.size());
            let moved = |at: u64| at - by + end;
            *cell = Place {
                id: std::mem::take(&mut cell.id),
                start: moved(cell.start),
                outputs: moved(cell.outputs.start)..moved(cell.outputs.end),
                end: moved(cell.end),
            };
            end += size;
        }
        (self.file, self.end) = (file, end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(before: &str, outputs: &str, after: &str) -> Text {
        let start = before.len();
        let json = format!("{before}{outputs}{after}").into_bytes();
        Text { json, outputs: start..start + outputs.len() }
    }

    fn all(spool: &Spool) -> String {
        let mut all = Vec::new();
        spool.copy_to(&mut all, 0).unwrap();
        String::from_utf8(all).unwrap()
    }

    #[test]
    fn cells_keep_their_order_when_they_are_replaced() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = Spool::make(home.path().to_owned()).unwrap();
        assert_eq!(all(&spool), "");
        for id in ["a", "b", "c"] {
            spool.put(id, &text(id, "-", ";")).unwrap();
        }
        spool.put("b", &text("b", "new", ";")).unwrap();
        assert_eq!(all(&spool), "a-;bnew;c-;");
        spool.compact().unwrap();
        assert_eq!((all(&spool), spool.end, spool.live), ("a-;bnew;c-;".into(), 11, 11));
        spool.put("a", &text("A", "!", ";")).unwrap();
        assert_eq!(all(&spool), "A!;bnew;c-;");
    }

    #[test]
    fn what_is_replaced_does_not_pile_up() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = Spool::make(home.path().to_owned()).unwrap();
        let big = "x".repeat(1 << 20);
        for _ in 0..40 {
            spool.put("a", &text("a", &big, ";")).unwrap();
        }
        assert!(spool.file.metadata().unwrap().len() <= 2 * spool.live + SLACK + (1 << 20));
        assert_eq!(all(&spool).len(), big.len() + 2);
    }

    #[test]
    fn the_oldest_outputs_go_first_and_come_back_when_they_are_new() {
        let home = tempfile::tempdir().unwrap();
        let mut spool = Spool::make(home.path().to_owned()).unwrap();
        for id in ["a", "b", "c"] {
            spool.put(id, &text(id, "123456", ";")).unwrap();
        }
        let note = |id: &str| format!("<{id}>").into_bytes();
        spool.shrink(24, note).unwrap();
        assert_eq!(all(&spool), "a123456;b123456;c123456;");
        spool.shrink(20, note).unwrap();
        assert_eq!(all(&spool), "a<a>;b<b>;c123456;");
        spool.put("a", &text("a", "654321", ";")).unwrap();
        spool.shrink(18, note).unwrap();
        assert_eq!(all(&spool), "a<a>;b<b>;c123456;");
        spool.shrink(0, note).unwrap();
        assert_eq!(all(&spool), "a<a>;b<b>;c<c>;");
    }
}
