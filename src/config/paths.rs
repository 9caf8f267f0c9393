//! Makes a path from the settings absolute: `~` is the home folder, a relative path starts where
//! it was said.
//!
//! Does not ask whether the path leads anywhere: that is for those who use it to say.

use std::path::{Path, PathBuf};

/// The path that `key` means, or what is wrong with it.
pub(super) fn resolve(
    key: &str,
    path: &Path,
    base: &Path,
    home: Option<&Path>,
) -> Result<PathBuf, String> {
    if path.as_os_str().is_empty() {
        return Err("must be a path, not empty".to_owned());
    }
    if key == "python" && is_bare_name(path) {
        return Ok(path.to_owned());
    }
    let absolute = match path.strip_prefix("~") {
        Ok(below) => home
            .ok_or("starts with `~`, but there is no home folder; set HOME or write it in full")?
            .join(below),
        Err(_) if path.to_string_lossy().starts_with('~') => {
            return Err(format!(
                "must not name another user's home; only `~/` is known, not {path:?}"
            ));
        }
        Err(_) => base.join(path),
    };
    // Collecting the components drops `./` and doubled slashes, so that paths read well. `..`
    // stays: what it means depends on symbolic links.
    Ok(absolute.components().collect())
}

/// A path without links, as it is on this machine now; its end need not exist. Nothing where that end
/// has a `..`, or the beginning cannot be looked at.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    let mut missing = Vec::new();
    let mut there = path;
    loop {
        match there.canonicalize() {
            Ok(real) => return Some(missing.iter().rev().fold(real, |path, name| path.join(name))),
            // A link that leads nowhere is there all the same, and may lead somewhere later.
            Err(_) if there.symlink_metadata().is_ok() => return None,
            Err(_) => {}
        }
        missing.push(there.file_name()?);
        there = there.parent()?;
    }
}

/// Whether this is a command to find on `PATH`, such as `python3.13`.
fn is_bare_name(path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.contains(['/', std::path::MAIN_SEPARATOR]) && !text.starts_with(['.', '~'])
}
