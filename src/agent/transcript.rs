//! The transcript: a file of JSON lines to which a conversation is added as it goes on, and from which
//! it can be resumed.
//!
//! A line is on disk before the next step is taken. Only this user may read the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::conversation::{Conversation, Entry, VERSION};

/// A transcript that is being written.
#[derive(Debug)]
pub struct Transcript {
    file: File,
    path: PathBuf,
}

/// What is wrong with a transcript.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// It is there already.
    #[error("the transcript `{}` is there already; go on with it (--resume), or name another file", .0.display())]
    Exists(PathBuf),
    /// It cannot be opened or written.
    #[error("cannot write the transcript `{}`", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the transcript `{}`; without --resume a new one is begun", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it is no entry.
    #[error("line {line} of the transcript `{}` is no entry of one", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// It is no transcript, or one of another husk.
    #[error("`{}` does not begin like a transcript of form {VERSION}", .0.display())]
    Form(PathBuf),
}

impl Transcript {
    /// A new transcript that holds what the conversation has so far.
    ///
    /// # Errors
    /// [`TranscriptError`], also where the file is there already and holds something.
    pub fn create(path: &Path, conversation: &Conversation) -> Result<Self, TranscriptError> {
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).mode(0o600).open(path);
        let empty = file.and_then(|file| Ok((file.metadata()?.len() == 0, file)));
        let (empty, file) =
            empty.map_err(|source| TranscriptError::Write { path: path.to_owned(), source })?;
        if !empty {
            return Err(TranscriptError::Exists(path.to_owned()));
        }
        let mut transcript = Self { file, path: path.to_owned() };
        conversation.log().iter().try_for_each(|entry| transcript.add(entry))?;
        Ok(transcript)
    }

    /// A transcript that is there, and its conversation. A last line that was cut off when its husk
    /// ended is taken away.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn resume(path: &Path) -> Result<(Self, Conversation), TranscriptError> {
        let failed = |source| TranscriptError::Read { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(failed)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            tracing::warn!("the last line of the transcript was cut off, and is left out");
            file.set_len(whole as u64).and_then(|()| file.rewind()).map_err(failed)?;
        }
        let mut entries = Vec::new();
        for (number, line) in (1..).zip(text.get(..whole).unwrap_or_default().lines()) {
            let entry = serde_json::from_str(line).map_err(|source| match number {
                1 => TranscriptError::Form(path.to_owned()),
                line => TranscriptError::Line { path: path.to_owned(), line, source },
            })?;
            entries.push(entry);
        }
        if !matches!(entries.first(), Some(Entry::Begin { version: VERSION, .. })) {
            return Err(TranscriptError::Form(path.to_owned()));
        }
        Ok((Self { file, path: path.to_owned() }, Conversation::of(entries)))
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`TranscriptError::Write`].
    pub fn add(&mut self, entry: &Entry) -> Result<(), TranscriptError> {
        let mut line = serde_json::to_vec(entry).map_err(|error| TranscriptError::Write {
            path: self.path.clone(),
            source: error.into(),
        })?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(|source| TranscriptError::Write { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::agent::conversation::tests::{calls, gives, says, user, with};

    #[test]
    fn a_conversation_is_resumed_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        let mut conversation = with(vec![user("a"), calls("x"), gives("x", "1")]);
        let mut transcript = Transcript::create(&path, &conversation).unwrap();
        for entry in [
            Entry::Cleared { calls: vec!["x".to_owned()] },
            Entry::Message { message: says("b") },
            Entry::Summed { text: "sum".to_owned(), kept_from: 3 },
        ] {
            transcript.add(&entry).unwrap();
            conversation.enter(entry);
        }
        let (_, resumed) = Transcript::resume(&path).unwrap();
        assert_eq!(resumed.messages(), conversation.messages());
        assert_eq!(resumed.id(), "c");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(
            Transcript::create(&path, &conversation),
            Err(TranscriptError::Exists(_))
        ));
    }

    #[test]
    fn a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        Transcript::create(&path, &with(vec![user("a"), says("b")])).unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text += "{\"type\":\"mess";
        std::fs::write(&path, &text).unwrap();
        let (mut transcript, resumed) = Transcript::resume(&path).unwrap();
        assert_eq!(resumed.messages().len(), 2);
        transcript.add(&Entry::Message { message: user("c") }).unwrap();
        assert_eq!(Transcript::resume(&path).unwrap().1.messages().len(), 3);
    }

    #[test]
    fn what_is_no_transcript_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.jsonl");
        for (text, expected) in [
            ("", "does not begin like"),
            ("hello\n", "does not begin like"),
            (
                "{\"type\":\"begin\",\"version\":9,\"conversation\":\"c\",\"at\":\"\"}\n",
                "does not begin",
            ),
            (
                "{\"type\":\"begin\",\"version\":1,\"conversation\":\"c\",\"at\":\"\"}\n{}\n",
                "line 2",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Transcript::resume(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
