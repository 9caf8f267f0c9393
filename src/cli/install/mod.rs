//! `husk install HOST` and `husk uninstall HOST`: put the `husk` entry into a host's own user
//! configuration, or take it out, and leave everything else in that file as it was. Does not start,
//! restart or look for the host, and edits no project's file.
//!
//! - The decisions are plain text to text: [`registered`] and [`removed`]; [`install`] and
//!   [`uninstall`] move the bytes.
//! - A file that cannot be read as its format, or whose servers' key holds something else, is
//!   refused with its line, never overwritten.
//! - An older `husk` entry keeps what its user added (`env`, timeouts, …); only the members that
//!   start husk are set. One that named a remote server (`url`) is replaced as a whole.
//! - The text from before is kept beside the file as `<file>.husk-backup`; that first copy is never
//!   overwritten, later ones get a number.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, io};

use self::host::{Format, Host, Places};
use self::report::{Outcome, Report};

mod file;
pub mod host;
mod jsonc;
pub mod report;
mod toml;

/// The entry's name in every host.
const NAME: &str = "husk";

/// Register husk as an MCP server with a host.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The program to register husk with.
    #[arg(value_enum)]
    pub host: Host,
    /// Show the entry and where it belongs, and write nothing.
    #[arg(long)]
    pub print: bool,
    /// What the host shall pass to husk, after `--`.
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// Take husk out of a host's MCP servers.
#[derive(Debug, Clone, clap::Args)]
pub struct RemovalArgs {
    /// The program to take husk out of.
    #[arg(value_enum)]
    pub host: Host,
}

/// How a host starts husk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The program, as an absolute path: hosts with a window have another `PATH` than a terminal.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// It already said what it should.
    Unchanged,
    /// The new text.
    Changed(String),
}

/// Why a host's configuration was left alone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not what the host's documentation says it is.
    #[error(
        "cannot edit {}, line {line}: {found}; husk left it as it is: correct it and run this \
         again, or edit it by hand with what `husk install {} --print` shows",
        file.display(), host.name()
    )]
    NotEditable {
        /// Whose file it is.
        host: Host,
        /// Its path, or only its name where a text was given.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        found: String,
    },
    /// Someone else wrote the file between our reading and our writing.
    #[error("{} changed while husk was editing it; nothing was written, run this again", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {deed} {}; check that it is yours, writable, and UTF-8 text", path.display())]
    Io {
        /// What was tried.
        deed: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The user's home folder is unknown.
    #[error(
        "cannot find the hosts' files: the variable {variable} names no absolute folder; set it to your home folder"
    )]
    NoHome {
        /// The variable that was looked for.
        variable: &'static str,
    },
    /// The path of husk itself is unknown.
    #[error("cannot find the path of the running husk program; start it by its full path")]
    NoProgram {
        /// What the system said.
        source: io::Error,
    },
    /// The path of husk itself cannot be written in a configuration.
    #[error("the path of the husk program, {}, is not Unicode; move it elsewhere", path.display())]
    NotUnicode {
        /// The path.
        path: PathBuf,
    },
}

/// What `jsonc` and `toml` refuse, before anyone has said which file it is.
struct Fault {
    line: usize,
    found: String,
}

impl Entry {
    /// Starts the program that is running now, with these arguments.
    ///
    /// # Errors
    /// When the system does not tell the program's path, or the path is not Unicode.
    pub fn of_this_program(args: Vec<String>) -> Result<Self, Error> {
        let running = env::current_exe().map_err(|source| Error::NoProgram { source })?;
        let path = env::var_os("PATH").unwrap_or_default();
        let program = lasting(running, &path);
        match program.into_os_string().into_string() {
            Ok(command) => Ok(Self { command, args }),
            Err(path) => Err(Error::NotUnicode { path: path.into() }),
        }
    }
}

/// The absolute path under which `PATH` finds this very program, else the program's own: package
/// managers link a lasting name to a place that goes away with the next version.
fn lasting(running: PathBuf, search: &OsStr) -> PathBuf {
    let same = |found: &PathBuf| match (found.canonicalize(), running.canonicalize()) {
        (Ok(found), Ok(running)) => found == running,
        _ => false,
    };
    let name = format!("{NAME}{}", env::consts::EXE_SUFFIX);
    let folders = env::split_paths(search).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(&name)).find(same).unwrap_or(running)
}

/// The text with the entry in it. An empty text counts as a file without servers.
///
/// # Errors
/// [`Error::NotEditable`] when the text is not what this host reads.
pub fn registered(host: Host, text: &str, entry: &Entry) -> Result<Edit, Error> {
    let members = host.members(entry);
    edited(host, text, |text| match host.format() {
        Format::Json => jsonc::registered(host.servers(), text, &members),
        Format::Toml => toml::registered(host.servers(), text, &members),
    })
}

/// The text without the entry; what held it stays, even empty.
///
/// # Errors
/// [`Error::NotEditable`] when the text is not what this host reads.
pub fn removed(host: Host, text: &str) -> Result<Edit, Error> {
    edited(host, text, |text| match host.format() {
        Format::Json => jsonc::removed(host.servers(), text),
        Format::Toml => toml::removed(host.servers(), text),
    })
}

/// Spares the edit a byte order mark, which some Windows editors write, and puts it back.
fn edited(
    host: Host,
    text: &str,
    edit: impl FnOnce(&str) -> Result<Edit, Fault>,
) -> Result<Edit, Error> {
    const MARK: char = '\u{feff}';
    let bare = text.strip_prefix(MARK);
    match edit(bare.unwrap_or(text)) {
        Ok(Edit::Changed(text)) if bare.is_some() => Ok(Edit::Changed(format!("{MARK}{text}"))),
        Ok(edit) => Ok(edit),
        Err(Fault { line, found }) => {
            Err(Error::NotEditable { host, file: host.file_name().into(), line, found })
        }
    }
}

/// What to paste into an empty file of this host, line end included.
pub fn snippet(host: Host, entry: &Entry) -> String {
    let members = host.members(entry);
    match host.format() {
        Format::Json => jsonc::fresh(host.servers(), &members),
        Format::Toml => toml::fresh(host.servers(), &members),
    }
}

/// Registers husk in the host's file, which is made where there is none.
///
/// # Errors
/// When the file is not what this host reads, cannot be read or written, or changes meanwhile.
pub fn install(host: Host, entry: &Entry, places: &Places) -> Result<Report, Error> {
    let file = host.file(places);
    let before = file::read(&file)?;
    let edit = registered(host, before.as_deref().unwrap_or_default(), entry);
    let done = written(&file, before.as_deref(), edit)?;
    let outcome = if done.is_some() { Outcome::Registered } else { Outcome::AlreadyRegistered };
    Ok(Report { host, file, outcome, backup: done.flatten() })
}

/// Takes husk out of the host's file; no file and no entry are no fault.
///
/// # Errors
/// When the file is not what this host reads, cannot be read or written, or changes meanwhile.
pub fn uninstall(host: Host, places: &Places) -> Result<Report, Error> {
    let file = host.file(places);
    let before = file::read(&file)?;
    let edit = removed(host, before.as_deref().unwrap_or_default());
    let done = written(&file, before.as_deref(), edit)?;
    let outcome = if done.is_some() { Outcome::Removed } else { Outcome::NotRegistered };
    Ok(Report { host, file, outcome, backup: done.flatten() })
}

/// `None` where nothing had to be written, else where the text from before is kept, if there was one.
fn written(
    file: &Path,
    before: Option<&str>,
    edit: Result<Edit, Error>,
) -> Result<Option<Option<PathBuf>>, Error> {
    match edit {
        Ok(Edit::Unchanged) => Ok(None),
        Ok(Edit::Changed(after)) => file::replace(file, before, &after).map(Some),
        Err(Error::NotEditable { host, line, found, .. }) => {
            Err(Error::NotEditable { host, file: file.to_owned(), line, found })
        }
        Err(other) => Err(other),
    }
}

/// Runs `husk install`.
///
/// # Errors
/// As [`install`], and when husk's own path or the user's home folder is unknown.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line's own output")]
pub fn run(args: Args) -> Result<(), Error> {
    let Args { host, print, args } = args;
    let entry = Entry::of_this_program(args)?;
    let places = Places::from_environment()?;
    if print {
        let comment = if host.format() == Format::Toml { "#" } else { "//" };
        eprintln!("{comment} {}", host.file(&places).display());
        print!("{}", snippet(host, &entry));
    } else {
        println!("{}", install(host, &entry, &places)?);
    }
    Ok(())
}

/// Runs `husk uninstall`.
///
/// # Errors
/// As [`uninstall`], and when the user's home folder is unknown.
#[expect(clippy::print_stdout, reason = "the command line's own output")]
pub fn run_removal(args: RemovalArgs) -> Result<(), Error> {
    println!("{}", uninstall(args.host, &Places::from_environment()?)?);
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsString;

    use super::{io, lasting};

    #[test]
    fn a_link_on_the_search_path_outlasts_the_place_it_leads_to() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (running, link) = (folder.path().join("husk-0.1"), folder.path().join("husk"));
        std::fs::write(&running, "")?;
        let mut search = OsString::from("relative:/nowhere:");
        search.push(folder.path());
        assert_eq!(lasting(running.clone(), &search), running);
        std::os::unix::fs::symlink(&running, &link)?;
        assert_eq!(lasting(running, &search), link);
        Ok(())
    }
}
