//! What cells may have written: a Python that lies there is not run where it could do harm.
//!
//! A virtual environment in the workspace is an ordinary thing, and its `bin/python` is whatever the
//! last cell has left there. Looks at links; runs nothing itself.

use std::{
    fmt,
    future::Future,
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

/// Links that are followed, at most.
const LINKS: usize = 16;

/// The answer of a Python, or why there is none.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// Runs a Python in a sandbox, once.
pub trait Confined: fmt::Debug + Send + Sync {
    /// Runs `python` with `args` and the path of a file, and returns what it has written there.
    fn answer<'a>(&'a self, python: &'a Path, args: &'a [&'a str]) -> Answer<'a>;
}

/// Where cells may write, and how a Python from there is asked.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// The folders.
    pub folders: Vec<PathBuf>,
    /// Whether all is taken as if cells had written it: a file of theirs has named it.
    pub everywhere: bool,
    /// What runs a Python that cells may have written; without, it is not run.
    pub asks: Option<Arc<dyn Confined>>,
}

impl Reach {
    /// Whether cells may have written what is at `path`, or have made a link that leads to it.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        self.everywhere || steps(path).iter().any(|step| self.root(step).is_some())
    }

    /// The folder that holds `path`, by its name or by its real name.
    pub(in crate::sandbox) fn root(&self, path: &Path) -> Option<&PathBuf> {
        let real = path.canonicalize().ok();
        self.folders.iter().find(|folder| {
            let by_name = |path: &Path| path.starts_with(folder);
            let really =
                |path: &PathBuf| folder.canonicalize().is_ok_and(|at| path.starts_with(at));
            by_name(path) || real.as_ref().is_some_and(really)
        })
    }

    /// `PATH` without the folders in which cells may have put a program of theirs.
    #[must_use]
    pub fn without(&self, path: Option<std::ffi::OsString>) -> Option<std::ffi::OsString> {
        let path = path?;
        let kept = std::env::split_paths(&path).filter(|folder| self.root(folder).is_none());
        std::env::join_paths(kept).ok()
    }
}

/// The file, and each that it is a link to.
pub(in crate::sandbox) fn steps(file: &Path) -> Vec<PathBuf> {
    let mut steps = vec![file.to_owned()];
    for _ in 0..LINKS {
        let Some(file) = steps.last() else { break };
        let Ok(target) = std::fs::read_link(file) else { break };
        steps.push(normal(&file.parent().unwrap_or(Path::new("/")).join(target)));
    }
    steps
}

/// A path without `..`, by its words alone.
fn normal(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_cells_may_have_written_is_known_by_name_and_by_link() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for folder in ["work/bin", "other"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["work/bin/python", "other/python"] {
            std::fs::write(at(file), "").unwrap();
        }
        symlink(at("other/python"), at("work/link")).unwrap();
        symlink("../work/link", at("other/through")).unwrap();
        symlink(at("work"), at("other/folder")).unwrap();
        let mut reach = Reach { folders: vec![at("work")], ..Reach::default() };
        for held in
            ["work/bin/python", "work/link", "work/new", "other/through", "other/folder/bin/python"]
        {
            assert!(reach.holds(&at(held)), "{held}");
        }
        assert!(!reach.holds(&at("other/python")) && !reach.holds(Path::new("/usr/bin/env")));
        let path = std::env::join_paths([at("work/bin"), at("other"), at("other/folder/bin")]).ok();
        assert_eq!(reach.without(path), Some(at("other").into_os_string()));
        reach.everywhere = true;
        assert!(reach.holds(Path::new("/usr/bin/env")));
    }
}
