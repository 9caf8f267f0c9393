//! The record of a session's cells in its notebook: what a kernel put out becomes nbformat's values.
//!
//! A cell is in the file before its answer goes out. A record that cannot be written does not stop
//! the session: the answer says so.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Map, Value};

use super::cell::{CellRun, Outcome};
use crate::{
    base::ids::SessionName,
    kernel::{Info, event::Representation, output::Whole},
    notebook::{
        document::{Cell, Header, Output},
        record::{Notebook, RecordError, Settings},
    },
};

/// A session's record; clones are one record.
#[derive(Clone)]
pub(super) struct Record(Arc<Mutex<Inner>>);

struct Inner {
    settings: Settings,
    workspace: PathBuf,
    file: PathBuf,
    private: PathBuf,
    header: Header,
    notebook: Option<Notebook>,
    /// Where it was written last, relative to the workspace.
    written: Option<PathBuf>,
}

impl Record {
    /// Nothing recorded yet; nothing where no record is wanted.
    pub(super) fn new(
        settings: &Settings,
        private: PathBuf,
        session: &SessionName,
        workspace: &Path,
    ) -> Option<Self> {
        if !settings.is_on() {
            return None;
        }
        let file = settings.file.replace("{session}", session.as_str());
        Some(Self(Arc::new(Mutex::new(Inner {
            settings: settings.clone(),
            workspace: workspace.to_owned(),
            file: file.into(),
            private,
            header: Header { session: session.to_string(), ..Header::default() },
            notebook: None,
            written: None,
        }))))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another kernel runs the cells from now on.
    pub(super) fn kernel(&self, name: &str, info: &Info) {
        let mut inner = self.inner();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        inner.header = Header {
            session: inner.header.session.clone(),
            kernel: name.to_owned(),
            display_name: format!("{} ({})", info.implementation, info.language),
            language: info.language.clone(),
            version: some(&info.language_version),
            mimetype: some(&info.mimetype),
            file_extension: some(&info.file_extension),
        };
        let header = inner.header.clone();
        if let Some(notebook) = &mut inner.notebook {
            notebook.set_header(header);
        }
    }

    /// Records a cell that has ended, or again one that has changed since. Blocks.
    pub(super) fn cell(&self, run: &CellRun, outcome: &Outcome) -> Result<(), RecordError> {
        let mut inner = self.inner();
        let published = {
            let cell = cell(run, outcome, &inner.settings);
            inner.record(cell)?
        };
        inner.written = Some(published);
        Ok(())
    }

    /// Where the notebook was written last.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let inner = self.inner();
        inner.written.as_ref().map(|file| inner.workspace.join(file))
    }

    /// The notebook as JSON; nothing before the first cell. Blocks.
    pub(super) fn text(&self) -> Option<Result<String, RecordError>> {
        self.inner().notebook.as_ref().map(Notebook::text)
    }
}

impl Inner {
    fn record(&mut self, cell: Cell) -> Result<PathBuf, RecordError> {
        let notebook = match &mut self.notebook {
            Some(notebook) => notebook,
            None => {
                let header = self.header.clone();
                let made = Notebook::create(
                    &self.workspace,
                    &self.file,
                    &self.private,
                    header,
                    self.settings.clone(),
                )?;
                self.notebook.insert(made)
            }
        };
        Ok(notebook.record(cell)?.path)
    }
}

fn cell(run: &CellRun, outcome: &Outcome, settings: &Settings) -> Cell {
    let count = outcome.execution_count();
    Cell {
        id: run.id(),
        source: run.cell.code.clone(),
        description: run.cell.description.clone(),
        execution_count: count,
        status: outcome.status.word().to_owned(),
        started: outcome.started,
        duration: outcome.duration,
        generation: outcome.generation,
        outputs: outputs(
            run,
            settings.max_text_bytes as u64,
            settings.max_cell_bytes as u64,
            count,
        ),
    }
}

/// What a cell has put out, with at most `text` bytes of text and `most` bytes of representations.
pub(super) fn outputs(run: &CellRun, text: u64, most: u64, count: Option<u64>) -> Vec<Output> {
    run.output.whole(text, most).into_iter().map(|one| output(one, count)).collect()
}

fn output(whole: Whole, count: Option<u64>) -> Output {
    match whole {
        Whole::Stream { stderr, text } => Output::Stream { stderr, text },
        Whole::Error(failure) => Output::Error {
            name: failure.name,
            value: failure.value,
            traceback: failure.traceback.split('\n').map(str::to_owned).collect(),
        },
        Whole::Display { bundle, metadata, result } => {
            let data = bundle.into_iter().map(member).collect();
            let metadata: Map<String, Value> =
                metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            match result {
                true => Output::Result { count, data, metadata },
                false => Output::Display { data, metadata },
            }
        }
    }
}

fn member(one: Representation) -> (String, Value) {
    let value = match one.json {
        true => serde_json::from_str(&one.value).unwrap_or(Value::String(one.value)),
        false => Value::String(one.value),
    };
    (one.mime, value)
}
