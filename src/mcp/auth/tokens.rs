//! Tokens that the user hands out: a file that holds their digests, never the tokens.
//!
//! A token is `husk_`, a public number by which it is found and revoked, and 256 random bits; so its
//! plain SHA-256 is all that has to be kept. The file is read again when it was changed: a token that is
//! revoked is refused from the next request on. A file that cannot be read lets nobody in.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Caller, Principal, Scope, Scopes};
use crate::base::{
    canon::Digest,
    ids::{self, SessionName},
    secret::Secret,
};

/// How a token begins: secret scanners know it by that.
const PREFIX: &str = "husk_";

/// Why tokens cannot be read, made or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("cannot {deed} the tokens in `{}`", path.display())]
    File {
        /// What was to be done.
        deed: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is in it.
    #[error("`{}` holds no tokens as `husk token new` writes them ({why}); mend it, or remove it and make new ones", path.display())]
    Broken {
        /// Where.
        path: PathBuf,
        /// Why not; what the file holds is not shown.
        why: String,
    },
    /// Others could let themselves in.
    #[error("others may write to `{}`; take that away with `chmod go-w`", .0.display())]
    Open(PathBuf),
    /// Who a token is for.
    #[error("`{}` cannot name a user: use 1-64 characters of A-Z a-z 0-9 . _ -, not starting with `.` or `-`", .0.escape_debug())]
    Name(String),
    /// No randomness.
    #[error("the system has no randomness to give")]
    Randomness,
    /// Nothing to revoke.
    #[error("no token has the number or the user `{}`; `husk token list` lists all", .0.escape_debug())]
    Unknown(String),
}

/// A token as the file keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// The public number.
    pub id: String,
    /// For whom it was made.
    pub user: String,
    /// What they may do.
    pub scopes: Vec<String>,
    /// SHA-256 of the secret, in hexadecimal digits.
    pub sha256: String,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From when on it is refused, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    token: Vec<Kept>,
}

/// Which file was read.
type Stamp = (u64, i64, i64, u64);

/// See the module's documentation.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    /// Held for a look-up, and while the file is read.
    read: Mutex<Option<(Stamp, Vec<Kept>)>>,
}

impl TokenFile {
    /// The tokens in that file.
    ///
    /// # Errors
    /// [`TokenError`] when they cannot be read.
    pub fn open(path: PathBuf) -> Result<Self, TokenError> {
        let read = Mutex::new(Some((stamp(&path)?, read(&path)?)));
        Ok(Self { path, read })
    }

    /// Whose token this is; nothing where it is nobody's, or expired.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
        let digest = ids::hex(Digest::sha256(secret.as_bytes()).bytes());
        let kept = self.find(id)?;
        let same = bool::from(kept.sha256.as_bytes().ct_eq(digest.as_bytes()));
        let lives = kept.expires.is_none_or(|expires| now() < expires);
        let scopes = Scopes::of(kept.scopes.iter().map(String::as_str));
        (same && lives).then(|| Caller { principal: Principal::of_token(&kept.user), scopes })
    }

    fn find(&self, id: &str) -> Option<Kept> {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = stamp(&self.path).and_then(|stamp| match &*known {
            Some((of, _)) if *of == stamp => Ok(None),
            _ => read(&self.path).map(|tokens| Some((stamp, tokens))),
        });
        match fresh {
            Ok(None) => {}
            Ok(Some(fresh)) => *known = Some(fresh),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "nobody is let in");
                *known = None;
            }
        }
        known.as_ref()?.1.iter().find(|kept| kept.id == id).cloned()
    }
}

/// Makes a token for a user, and keeps its digest.
///
/// # Errors
/// [`TokenError`].
pub fn make(
    path: &Path,
    user: &str,
    scopes: &[Scope],
    lives: Option<Duration>,
) -> Result<Secret, TokenError> {
    SessionName::new(user).map_err(|_| TokenError::Name(user.chars().take(80).collect()))?;
    let (id, secret) = (ids::random_hex(4), ids::random_hex(32));
    if id.is_empty() || secret.is_empty() {
        return Err(TokenError::Randomness);
    }
    let kept = Kept {
        id: id.clone(),
        user: user.to_owned(),
        scopes: scopes.iter().map(|scope| scope.name().to_owned()).collect(),
        sha256: ids::hex(Digest::sha256(secret.as_bytes()).bytes()),
        created: now(),
        expires: lives.map(|lives| now().saturating_add(lives.as_secs())),
    };
    change(path, |tokens| {
        tokens.push(kept);
        Ok(())
    })?;
    Ok(Secret::new(format!("{PREFIX}{id}_{secret}")))
}

/// Revokes the token of that number, or all of that user; how many there were.
///
/// # Errors
/// [`TokenError`], also when there is none.
pub fn revoke(path: &Path, which: &str) -> Result<usize, TokenError> {
    change(path, |tokens| {
        let before = tokens.len();
        tokens.retain(|kept| kept.id != which && kept.user != which);
        match before - tokens.len() {
            0 => Err(TokenError::Unknown(which.chars().take(80).collect())),
            revoked => Ok(revoked),
        }
    })
}

/// All tokens; none where there is no file.
///
/// # Errors
/// [`TokenError`].
pub fn list(path: &Path) -> Result<Vec<Kept>, TokenError> {
    if path.exists() { read(path) } else { Ok(Vec::new()) }
}

fn failed<'a>(deed: &'static str, path: &'a Path) -> impl Fn(io::Error) -> TokenError + use<'a> {
    move |source| TokenError::File { deed, path: path.to_owned(), source }
}

fn stamp(path: &Path) -> Result<Stamp, TokenError> {
    let is = fs::metadata(path).map_err(failed("read", path))?;
    if is.mode() & 0o022 != 0 {
        return Err(TokenError::Open(path.to_owned()));
    }
    Ok((is.ino(), is.mtime(), is.mtime_nsec(), is.len()))
}

fn read(path: &Path) -> Result<Vec<Kept>, TokenError> {
    let text = fs::read_to_string(path).map_err(failed("read", path))?;
    let broken = |error: toml::de::Error| TokenError::Broken {
        path: path.to_owned(),
        why: error.message().to_owned(),
    };
    toml::from_str::<Content>(&text).map(|content| content.token).map_err(broken)
}

/// Changes the file: two who do so at once do it one after the other, and nobody reads half of it.
fn change<T>(
    path: &Path,
    deed: impl FnOnce(&mut Vec<Kept>) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let failed = failed("change", path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(&failed)?;
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    let lock = fs::File::create(lock).map_err(&failed)?;
    lock.lock().map_err(&failed)?;
    let mut token = list(path)?;
    let done = deed(&mut token)?;
    let text = toml::to_string(&Content { token });
    let text = text.map_err(|error| failed(io::Error::other(error)))?;
    // A file of its own that only this user can read.
    let mut fresh = tempfile::NamedTempFile::new_in(folder).map_err(&failed)?;
    fresh.write_all(text.as_bytes()).map_err(&failed)?;
    fresh.as_file().sync_all().map_err(&failed)?;
    fresh.persist(path).map_err(|error| failed(error.error))?;
    Ok(done)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(u64::MAX, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_lets_its_user_in_until_it_is_revoked_or_expires() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let alice = make(&path, "alice", &[Scope::Run], None).unwrap();
        let gone = make(&path, "alice", &[Scope::Read], Some(Duration::ZERO)).unwrap();
        let file = TokenFile::open(path.clone()).unwrap();
        let caller = file.caller(alice.reveal()).unwrap();
        assert_eq!(caller.principal, Principal::of_token("alice"));
        assert!(caller.scopes.has(Scope::Run) && !caller.scopes.has(Scope::Admin));
        assert_eq!(file.caller(gone.reveal()), None);
        // Made after the server began.
        let bob = make(&path, "bob", &[Scope::Read], Some(Duration::from_secs(60))).unwrap();
        assert_eq!(file.caller(bob.reveal()).unwrap().principal, Principal::of_token("bob"));
        assert_eq!(revoke(&path, "alice").unwrap(), 2);
        assert_eq!(file.caller(alice.reveal()), None);
        assert!(file.caller(bob.reveal()).is_some());
        assert!(matches!(revoke(&path, "alice"), Err(TokenError::Unknown(_))));
    }

    #[test]
    fn what_is_not_quite_a_token_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let token = make(&path, "alice", &[Scope::Run], None).unwrap();
        let other = make(&path, "bob", &[Scope::Run], None).unwrap();
        let file = TokenFile::open(path.clone()).unwrap();
        let (token, other) = (token.reveal(), other.reveal());
        let (id, secret) = (&token[5..13], &token[14..]);
        let mut last = token.to_owned();
        last.pop();
        for wrong in [
            "",
            "husk_",
            "husk__",
            &last,
            &format!("{token}0"),
            &format!("husk_{}_{secret}", &other[5..13]),
            &format!("husk_{id}_"),
            &format!("husk_{id}_{}", ids::hex(Digest::sha256(secret.as_bytes()).bytes())),
            &token.to_uppercase(),
        ] {
            assert_eq!(file.caller(wrong), None, "{wrong}");
        }
        assert!(file.caller(token).is_some());
        // Neither the token nor its secret is on the disk.
        assert!(!fs::read_to_string(&path).unwrap().contains(secret));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_cannot_be_trusted_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        let token = make(&path, "alice", &[Scope::Run], None).unwrap();
        let file = TokenFile::open(path.clone()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o666);
        assert_eq!(file.caller(token.reveal()), None);
        assert!(matches!(TokenFile::open(path.clone()), Err(TokenError::Open(_))));
        mode(0o600);
        assert!(file.caller(token.reveal()).is_some());
        fs::write(&path, text.replace("[[token]]", "[[tokens]]")).unwrap();
        assert_eq!(file.caller(token.reveal()), None);
        assert!(matches!(TokenFile::open(path.clone()), Err(TokenError::Broken { .. })));
        fs::remove_file(&path).unwrap();
        assert_eq!(file.caller(token.reveal()), None);
        assert!(matches!(TokenFile::open(path.clone()), Err(TokenError::File { .. })));
        assert!(matches!(make(&path, "../x", &[], None), Err(TokenError::Name(_))));
    }
}
