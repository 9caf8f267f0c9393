//! The notebook file of one session: every cell is in it before its answer goes out.
//!
//! The whole file is written anew beside the old one and renamed over it ([`target`](super::target)),
//! so that a crash at any moment leaves a valid file with all cells that have ended. It is never
//! read back: [`spool`](super::spool) has the cells. All calls block; after a failed one the next
//! writes everything.

use std::{
    fs::File,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use super::{
    bounds,
    document::{Cell, Header},
    nbformat,
    spool::Spool,
    target::Target,
};

/// How much a record holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// File in the workspace in which a session is recorded; `{session}` is its name. `none`: nowhere.
    pub file: String,
    /// Most bytes of a cell's text on stdout and stderr; of more, the beginning and the end.
    pub max_text_bytes: usize,
    /// Most bytes of all outputs of a cell, as JSON.
    pub max_cell_bytes: usize,
    /// Most bytes of the file; beyond, the oldest cells lose their outputs, never their sources.
    pub max_file_bytes: u64,
}

impl Settings {
    /// The topmost folder, in the workspace, in which sessions are recorded; none where that is the
    /// workspace itself, or nothing is recorded.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        let (first, _) = self.file.split_once('/')?;
        (!first.contains('{')).then(|| first.into())
    }
}

/// Makes the folder in which sessions are recorded, so that it can be kept from cells before there is
/// a record. What is in its way is told when a cell is to be recorded.
pub fn make_folder(settings: &Settings, workspace: &Path) {
    if let Some(folder) = settings.folder() {
        let made = Target::find(workspace, &folder.join("record.ipynb"));
        if let Err(error) = made.and_then(|target| target.enter().map(drop)) {
            tracing::debug!(%error, "the folder of the record cannot be made yet");
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: ".husk/{session}.ipynb".to_owned(),
            max_text_bytes: 128 << 10,
            max_cell_bytes: 8 << 20,
            max_file_bytes: 16 << 20,
        }
    }
}

impl Settings {
    /// Whether sessions are recorded.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.file != "none"
    }

    /// Values out of range: the field, and what is allowed.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let path = Path::new(&self.file);
        let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
        if self.is_on() && !(inside && self.file.ends_with(".ipynb")) {
            let wrong = format!(
                "must be a path inside the workspace that ends in `.ipynb`, or `none`, not {:?}",
                self.file
            );
            faults.push(("file", wrong));
        }
        for (field, value) in [
            ("max_text_bytes", self.max_text_bytes as u64),
            ("max_cell_bytes", self.max_cell_bytes as u64),
            ("max_file_bytes", self.max_file_bytes),
        ] {
            if !(1 << 10..=1 << 30).contains(&value) {
                faults.push((field, format!("must be 1024 to {}, not {value}", 1 << 30)));
            }
        }
        faults
    }
}

/// Why a session, or a cell of it, is not in its notebook.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The setting names no file in the workspace.
    #[error(
        "cannot record the session in `{}`: give a path inside the workspace that ends in `.ipynb`, without `..`",
        .0.display()
    )]
    Name(PathBuf),
    /// The workspace or a folder in it.
    #[error(
        "cannot record the session in the folder `{}`; it must be a folder that husk may write to, and below the workspace no symbolic link",
        .path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The server's own copy of the cells.
    #[error("cannot keep the session's cells in a file in `{}`", .folder.display())]
    Spool {
        /// Where the file is, or should be.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The notebook file.
    #[error("cannot write the notebook `{}`", .path.display())]
    Write {
        /// The notebook.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A notebook that has just been written.
#[derive(Debug)]
pub struct Published {
    /// Where, relative to the workspace.
    pub path: PathBuf,
    /// The file, for `sync_data` if it is to outlive a power failure; that can take long.
    pub file: File,
}

/// The record of one session.
pub struct Notebook {
    target: Target,
    spool: Spool,
    /// Where the spool's file is.
    private: PathBuf,
    header: Header,
    settings: Settings,
}

impl Notebook {
    /// A record without cells; the workspace stays as it is until the first one.
    ///
    /// `file` is relative to `workspace`, for example `.husk/main.ipynb`. In `private`, out of the
    /// kernel's reach and on a disk rather than in memory, lies the server's own copy.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn create(
        workspace: &Path,
        file: &Path,
        private: &Path,
        header: Header,
        settings: Settings,
    ) -> Result<Self, RecordError> {
        let target = Target::find(workspace, file)?;
        let failed = |source| RecordError::Spool { folder: private.to_owned(), source };
        let spool = Spool::make(private.to_owned()).map_err(failed)?;
        Ok(Self { target, spool, private: private.to_owned(), header, settings })
    }

    /// Another kernel runs the session's cells from now on.
    pub fn set_header(&mut self, header: Header) {
        self.header = header;
    }

    /// Takes in a cell and writes the notebook. A cell with the id of an earlier one (output that
    /// came late, `update_display_data`) takes that one's place.
    ///
    /// # Errors
    /// [`RecordError`]; unless it is [`RecordError::Spool`], the cell is kept and comes with the next.
    pub fn record(&mut self, mut cell: Cell) -> Result<Published, RecordError> {
        cell.id = nbformat::valid_id(&cell.id);
        let Settings { max_text_bytes, max_cell_bytes, .. } = &self.settings;
        let whole = whole(&self.header.session, &cell.id);
        let outputs = std::mem::take(&mut cell.outputs);
        cell.outputs = bounds::bounded(outputs, *max_text_bytes, *max_cell_bytes, &whole);
        let id = cell.id.clone();
        self.keep(&id, &nbformat::text(cell))
            .map_err(|source| RecordError::Spool { folder: self.private.clone(), source })?;
        self.publish()
    }

    /// The notebook as it is now.
    ///
    /// # Errors
    /// [`RecordError::Spool`].
    pub fn text(&self) -> Result<String, RecordError> {
        let mut text = nbformat::OPENING.as_bytes().to_vec();
        self.spool
            .copy_to(&mut text, 1)
            .map_err(|source| RecordError::Spool { folder: self.private.clone(), source })?;
        text.extend(nbformat::closing(&self.header).into_bytes());
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Writes the notebook as it is now.
    ///
    /// # Errors
    /// [`RecordError::Folder`], [`RecordError::Write`].
    pub fn publish(&mut self) -> Result<Published, RecordError> {
        let closing = nbformat::closing(&self.header);
        self.target.write(|mut file| {
            file.write_all(nbformat::OPENING.as_bytes())?;
            self.spool.copy_to(&mut file, 1)?;
            file.write_all(closing.as_bytes())
        })
    }

    fn keep(&mut self, id: &str, text: &nbformat::Text) -> io::Result<()> {
        self.spool.put(id, text)?;
        let most = self.settings.max_file_bytes;
        let ends = nbformat::OPENING.len() + nbformat::closing(&self.header).len();
        let session = &self.header.session;
        self.spool.shrink(most.saturating_sub(ends as u64), |id| {
            let whole = whole(session, id);
            nbformat::outputs_with(&format!(
                "[… outputs left out: the notebook has reached its {most} bytes; {whole} …]"
            ))
        })
    }
}

/// Where all of a cell's output can be read.
fn whole(session: &str, cell: &str) -> String {
    format!("the whole is the resource husk://sessions/{session}/cells/{cell}/output")
}
