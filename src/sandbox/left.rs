//! What a server leaves in a kernel's run folder for the next one, where no cell can read or change
//! it: how to talk to the kernel, what holds it, and which cell it runs.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    body::Body,
    facts::Facts,
    isolate,
    launch::{Hold, Kernel, LaunchError, Launcher},
    run_folder::Run,
    servers::{self, Site},
    service::{Gifts, NotGiven},
};
use crate::{
    jail::{self, AdoptError, Identity, Process},
    kernel::{
        Adopt, Client, ConnectError, Execution, Info, Known, connection::Connection,
        journal::Journal,
    },
    proxy::Proxy,
};

/// The kernel.
const KERNEL: &str = "kernel.json";
/// The cell that it runs.
const CELL: &str = "cell.json";
/// Names the file that the server has locked which has the kernel.
const OWNER: &str = "owner";
/// The file that is named where nobody has it: none.
const NOBODY: &str = "nobody";
/// A second name of the kernel's journal, whose first one cells may put to another file.
const JOURNAL: &str = "journal";

/// How long a kernel that runs may take to answer another server.
const ANSWERS: Duration = Duration::from_secs(15);

/// Where a kernel is, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Its run folder.
    pub(super) run: PathBuf,
    /// Its init, once it runs.
    pub(super) init: Option<Identity>,
    /// On which machine, where several have one store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) site: Option<Site>,
}

impl Place {
    pub(super) fn text(&self) -> String {
        // A path that is no text cannot be written; then nobody finds the kernel again.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Ends what is there.
    pub(super) async fn dismiss(&self) {
        jail::dismiss(&self.run, self.init.as_ref()).await;
    }
}

/// What a kernel was started with: one that was started with something else is not gone on with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Policy {
    isolation: jail::Settings,
    source: String,
    kernel: Option<String>,
    python: Option<PathBuf>,
}

impl Policy {
    pub(super) fn of(launcher: &Launcher, source: &super::Source) -> Self {
        Self {
            isolation: launcher.isolation.clone(),
            source: source.to_string(),
            kernel: launcher.kernel.clone(),
            python: launcher.wanted.explicit.clone(),
        }
    }
}

/// A kernel that runs.
#[derive(Serialize, Deserialize)]
struct Left {
    policy: Policy,
    init: Identity,
    hold: Hold,
    connection: Connection,
    info: Info,
    name: String,
    launched: bool,
    interrupts_by_message: bool,
    program: PathBuf,
    started: SystemTime,
}

/// A cell that runs, or did when its server ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LeftCell {
    /// Its name in its session then.
    pub(super) id: String,
    /// Of its request.
    pub(super) request: String,
    pub(super) code: String,
    pub(super) description: Option<String>,
    pub(super) began: SystemTime,
    pub(super) timeout: Duration,
}

/// Why a kernel that was left is not gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFound {
    #[error("it has ended")]
    Ended,
    #[error("it is on {0}, where it ends by itself")]
    Elsewhere(String),
    #[error("the server that had it hangs, and it was ended")]
    Hangs,
    #[error("the settings have changed since, and it was ended")]
    Changed,
    #[error("what the server left of it cannot be read, and it was ended: {0}")]
    Unreadable(io::Error),
    #[error("it could not be taken over, and was ended: {0}")]
    Adopt(AdoptError),
    #[error("it did not answer, and was ended: {0}")]
    Connect(ConnectError),
    #[error("it did not answer within {} s, and was ended", ANSWERS.as_secs())]
    Late,
    #[error("its way to the network cannot be served, and it was ended: {0}")]
    Proxy(LaunchError),
    #[error("it cannot be served on with what it was given, and was ended: {0}")]
    Service(NotGiven),
    #[error("it is not isolated as it should be, and was ended: {0}")]
    Unproven(jail::choose::Unproven),
}

/// The init of the kernel of that run folder, where it was written down.
pub(super) fn init_of(folder: &Path) -> Option<Identity> {
    read::<Left>(&folder.join("s").join(KERNEL)).ok().map(|left| left.init)
}

/// Says in the run folder who has the kernel.
pub(super) fn own(run: &Run, owner: &Path) -> io::Result<()> {
    write(&run.inner.join(OWNER), owner.as_os_str().as_encoded_bytes())
}

/// Whether a server that lives has the kernel of that run folder.
pub(super) fn is_owned(folder: &Path) -> bool {
    owner(folder).is_some_and(|owner| !servers::is_unlocked(&owner))
}

/// The file that whoever has the kernel has locked.
pub(super) fn owner(folder: &Path) -> Option<PathBuf> {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};
    let owner = fs::read(folder.join("s").join(OWNER)).ok()?;
    Some(OsString::from_vec(owner).into())
}

impl Kernel {
    /// Writes down what another server needs to go on with it; where it is.
    pub(super) fn write_down(&self, policy: Policy, site: Option<&Site>) -> io::Result<Place> {
        let (Some(hold), Some(connection), Some(init)) =
            (&self.hold, &self.connection, self.facts.init_pid)
        else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let init = Identity::of(init);
        let left = Left {
            policy,
            init: init.clone(),
            hold: hold.clone(),
            connection: connection.clone(),
            info: self.client.info().clone(),
            name: self.name.clone(),
            launched: self.launched,
            interrupts_by_message: self.interrupts_by_message,
            program: self.facts.program.clone(),
            started: self.facts.started,
        };
        if self.launched {
            let journal = self.run.inner.join(JOURNAL);
            if !journal.exists() {
                fs::hard_link(self.run.outer.join(JOURNAL), journal)?;
            }
        }
        write(&self.run.inner.join(KERNEL), &serde_json::to_vec(&left)?)?;
        Ok(Place { run: self.run.folder.clone(), init: Some(init), site: site.cloned() })
    }

    /// Writes down which cell it runs.
    pub(super) fn begins(&self, cell: &LeftCell) -> io::Result<()> {
        write(&self.run.inner.join(CELL), &serde_json::to_vec(cell)?)
    }

    /// It runs none.
    pub(super) fn ended(&self) {
        // Not there where it was not written.
        let _ = fs::remove_file(self.run.inner.join(CELL));
    }

    /// Leaves it to another server.
    pub(super) async fn leave(self) {
        let Self { client, body, run, mut gifts, .. } = self;
        gifts.iter_mut().for_each(|gift| gift.leave());
        drop(client);
        // Who comes must not take this server for one that hangs.
        let nobody = owner(&run.folder).map(|owner| owner.with_file_name(NOBODY));
        if let Some(Err(error)) = nobody.map(|nobody| own(&run, &nobody)) {
            tracing::warn!(%error, "cannot say that nobody has the kernel");
        }
        run.leave();
        if let Body::Own(process) = body {
            process.leave().await;
        }
    }
}

/// A kernel that was found again, and the cell that it runs.
pub(super) struct Found {
    pub(super) kernel: Kernel,
    pub(super) execution: Option<Execution>,
}

/// The cell that the kernel of that place runs, or ran when its server ended.
pub(super) fn cell_of(place: &Place) -> Option<LeftCell> {
    read(&place.run.join("s").join(CELL)).ok()
}

impl Launcher {
    /// Goes on with a kernel that another server has left, under a claim of that epoch. `adopt` is the
    /// cell that it runs. One that cannot be gone on with is ended.
    pub(super) async fn find_again(
        &self,
        place: &Place,
        policy: &Policy,
        (epoch, owner): (u64, &Path),
        adopt: Option<Adopt>,
    ) -> Result<Found, NotFound> {
        let found = self.found_again(place, policy, (epoch, owner), adopt).await;
        if found.is_err() {
            place.dismiss().await;
        }
        found
    }

    async fn found_again(
        &self,
        place: &Place,
        policy: &Policy,
        (epoch, owner): (u64, &Path),
        adopt: Option<Adopt>,
    ) -> Result<Found, NotFound> {
        if !place.init.as_ref().is_some_and(Identity::lives) {
            return Err(NotFound::Ended);
        }
        if is_owned(&place.run) {
            return Err(NotFound::Hangs);
        }
        let folder = place.run.join("s");
        let left: Left = read(&folder.join(KERNEL)).map_err(NotFound::Unreadable)?;
        if left.policy != *policy {
            return Err(NotFound::Changed);
        }
        let process = Process::adopt(&place.run, &left.init, &left.hold.plan, epoch).await;
        let mut process = process.map_err(NotFound::Adopt)?;
        let run = Run::at(place.run.clone());
        own(&run, owner).map_err(NotFound::Unreadable)?;
        let proxy = isolate::way_out(&mut process, &left.hold.plan).map_err(NotFound::Proxy)?;
        let seen = left.hold.plan.seen_run(&run.outer);
        let folders = run.folders(&seen, &left.hold.plan);
        let gifts = self.services.iter().map(|service| service.go_on(folders));
        let gifts = gifts.filter_map(Result::transpose).collect::<Result<Gifts, _>>();
        let gifts = gifts.map_err(NotFound::Service)?;
        let report = left.hold.choice.report(&left.hold.plan, &process);
        let report = report.map_err(NotFound::Unproven)?;
        let (client, execution) = self.met_again(&left, &run, &process, adopt).await?;
        let facts = Facts {
            pid: Some(process.pid()),
            init_pid: process.init_pid(),
            isolation: Some(std::sync::Arc::new(report)),
            refused: proxy.as_ref().map(Proxy::record),
            started: left.started,
            ..Facts::of(&left.info, left.program)
        };
        let kernel = Kernel {
            client,
            body: Body::Own(process),
            facts,
            gifts,
            _proxy: proxy,
            name: left.name,
            launched: left.launched,
            interrupts_by_message: left.interrupts_by_message,
            hold: Some(left.hold),
            connection: Some(left.connection),
            run,
            // It runs already: where there is no room, there is one too many.
            _place: self.room.place().unwrap_or_default(),
        };
        Ok(Found { kernel, execution })
    }

    /// Its heartbeat and its answer, raced against its death and the bound.
    async fn met_again(
        &self,
        left: &Left,
        run: &Run,
        process: &Process,
        adopt: Option<Adopt>,
    ) -> Result<(Client, Option<Execution>), NotFound> {
        let journal = match left.launched {
            true => Some(Journal::open(&run.inner.join(JOURNAL)).map_err(NotFound::Unreadable)?),
            false => None,
        };
        // What the relays of the other server listened at.
        for name in ["iopub", "shell", "control", "stdin", "hb"] {
            let _ = fs::remove_file(run.inner.join(name));
        }
        // ipykernel answers on its control channel while a cell runs; of others that is not known.
        let known = Known { info: left.info.clone(), control: left.launched, adopt };
        tokio::select! {
            met = Client::reconnect(&left.connection, self.wire, journal, known) => met.map_err(NotFound::Connect),
            _ = process.exited() => Err(NotFound::Ended),
            () = tokio::time::sleep(ANSWERS) => Err(NotFound::Late),
        }
    }
}

/// Whole or not at all, and for this user alone.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    use io::Write;
    let fresh = path.with_extension("new");
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?.write_all(text)?;
    fs::rename(&fresh, path)
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let place = Place { run: "/tmp/husk-1".into(), init: Some(Identity::of(1)), site: None };
        assert_eq!(Place::read(&place.text()), Some(place));
        assert_eq!(Place::read("ipc://elsewhere"), None);
    }

    #[test]
    fn a_kernel_is_owned_as_long_as_its_server_lives() {
        let data = tempfile::tempdir().unwrap();
        let run = Run::make().unwrap();
        assert!(!is_owned(&run.folder));
        let server = servers::Server::open(data.path()).unwrap();
        own(&run, &server.file()).unwrap();
        assert!(is_owned(&run.folder));
        drop(server);
        assert!(!is_owned(&run.folder));
    }
}
