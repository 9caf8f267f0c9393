//! Which kernels the servers with one data folder have at gateways: a file for each, which names the
//! server whose it is.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    kernel::gateway::KernelId,
    sandbox::servers::{NoServer, Server},
};

/// The folder's name in the data folder.
const FOLDER: &str = "gateway";

/// See the module's documentation.
pub(super) struct Ledger {
    folder: PathBuf,
    /// This server; what it has entered is its own as long as it lives.
    server: Server,
    url: String,
}

/// What is known of a kernel.
#[derive(Serialize, Deserialize)]
struct Entry {
    url: String,
    server: String,
}

impl Ledger {
    /// For kernels at the gateway of that address.
    pub(super) fn open(data: &Path, url: &str) -> Result<Self, NoServer> {
        let server = Server::open(data)?;
        let folder = data.join(FOLDER);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| NoServer { folder: folder.clone(), source })?;
        Ok(Self { folder, server, url: url.to_owned() })
    }

    /// A kernel was started.
    pub(super) fn enter(&self, id: &KernelId) {
        let entry = Entry { url: self.url.clone(), server: self.server.name().to_owned() };
        if let Err(error) = write(&self.file(id), &entry) {
            tracing::warn!(%error, kernel = %id, "cannot write down a kernel at the gateway: if this server is killed, nobody ends it");
        }
    }

    /// It has ended.
    pub(super) fn strike(&self, id: &KernelId) {
        // It may not have been written.
        let _ = fs::remove_file(self.file(id));
    }

    /// Those that servers which are gone have left at this gateway. Of other gateways the token is not
    /// known.
    pub(super) fn left(&self) -> Vec<KernelId> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let left = files.filter_map(|file| {
            let id = KernelId::read(file.file_name().to_str()?)?;
            let entry: Entry = serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?;
            let ours = entry.url == self.url && self.server.is_dead(&entry.server);
            ours.then_some(id)
        });
        left.collect()
    }

    fn file(&self, id: &KernelId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

/// Whole or not at all: a name that is no kernel's is passed over.
fn write(path: &Path, entry: &Entry) -> io::Result<()> {
    use io::Write;
    let fresh = path.with_extension("new");
    let mut options = fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(entry)?)?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_server_has_left_at_this_gateway_is_ended() {
        let data = tempfile::tempdir().unwrap();
        let id = |text: &str| KernelId::read(text).unwrap();
        let (here, there) = ("http://here/", "http://there/");
        let lives = Ledger::open(data.path(), here).unwrap();
        lives.enter(&id("lives"));
        for (url, name) in [(here, "dead"), (there, "elsewhere")] {
            let ledger = Ledger::open(data.path(), url).unwrap();
            ledger.enter(&id(name));
        }
        let next = Ledger::open(data.path(), here).unwrap();
        assert_eq!(next.left(), [id("dead")]);
        next.strike(&id("dead"));
        assert_eq!(next.left(), []);
    }
}
