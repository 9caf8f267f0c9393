//! A PostgreSQL of the tests' own: in a folder of its own, on a socket in it, ended with the process
//! that started it, however that ends. Never the system's.
//!
//! Also what stands between it and husk: a wire that can be cut ([`Wire`]).

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// Of its user, which is the owner of everything in it. No error and no log may show it.
pub(crate) const PASSWORD: &str = "hunter2";

/// PostgreSQL's own.
pub(crate) const PORT: u16 = 5432;

/// What the process does that holds the database: what it is told, line by line. When nobody can tell
/// it more, it ends the database and takes everything away.
const KEEPER: &str = r#"
trap '' INT TERM HUP
cd "$2" && export PATH="$1:$PATH" PGHOST="$2" PGPORT="$5" PGUSER=husk PGPASSWORD="$3"
# A short copy of the password for initdb.
printf '%s' "$3" >pw && initdb -D data -U husk --pwfile pw -A scram-sha-256 --no-locale -E UTF8 --no-sync >log 2>&1 || cat log
while read -r word name; do
  case $word in
  start) pg_ctl -D data -l log -w -o "-c listen_addresses= -k '$2' -c shared_buffers=32MB -c max_connections=200 -p $5 $4" start >>pg_ctl 2>&1 ;;
  stop) pg_ctl -D data -w -m fast stop >>pg_ctl 2>&1 ;;
  crash) pg_ctl -D data -w -m immediate stop >>pg_ctl 2>&1 ;;
  create) createdb "$name" ;;
  esac && echo done || { echo failed; cat log >&2; }
done
pg_ctl -D data -w -m immediate stop >>pg_ctl 2>&1
cd / && rm -rf "$2"
"#;

/// A database server.
pub(crate) struct Cluster {
    folder: PathBuf,
    port: u16,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    /// Ends by itself when its standard input does.
    _keeper: Child,
    databases: AtomicUsize,
}

impl Cluster {
    /// The one that all tests of a process share; nothing where there can be none, which is said.
    pub(crate) fn shared() -> Option<&'static Self> {
        Self::shared_as("-c fsync=off")
    }

    /// The same, started with these options by who asks first.
    pub(crate) fn shared_as(options: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(options)).as_ref()
    }

    /// One for a test alone, with these options; nothing where there can be none, which is said.
    pub(crate) fn start(options: &str) -> Option<Self> {
        Self::start_at(PORT, &[], |_| options.to_owned())
    }

    /// The same at that port, which is also part of its socket's name, by a command that is begun with
    /// these words. `prepare` may put files into its folder, and tells its options.
    pub(crate) fn start_at(
        port: u16,
        within: &[&str],
        prepare: impl FnOnce(&Path) -> String,
    ) -> Option<Self> {
        let programs = programs()?;
        let folder = tempfile::Builder::new().prefix("husk-pg-").tempdir_in("/tmp").unwrap();
        let folder = folder.keep();
        let options = prepare(&folder);
        let mut command = as_nobody_special(&folder, within);
        command.args(["-c", KEEPER, "sh"]).args([&programs, &folder]);
        command.args([PASSWORD, &options, &port.to_string()]);
        let mut keeper = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = keeper.stdin.take().unwrap();
        let stdout = BufReader::new(keeper.stdout.take().unwrap());
        let pipes = Mutex::new((stdin, stdout));
        let databases = AtomicUsize::new(0);
        let cluster = Self { folder, port, pipes, _keeper: keeper, databases };
        cluster.tell("start");
        Some(cluster)
    }

    /// Has it do that (`start`, `stop`, `crash`), and waits until it is done.
    pub(crate) fn tell(&self, word: &str) {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin, "{word}").unwrap();
        let mut answer = String::new();
        stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), "done", "{word}");
    }

    /// A database that nobody else has: its address.
    pub(crate) fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.tell(&format!("create {name}"));
        self.url(&name)
    }

    fn url(&self, name: &str) -> String {
        let folder = self.folder.display();
        format!("postgres://husk:{PASSWORD}@localhost/{name}?host={folder}")
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }
}

/// Where PostgreSQL's programs are.
#[expect(
    clippy::print_stderr,
    reason = "who reads of a test that passed shall know that it was skipped"
)]
pub(crate) fn programs() -> Option<PathBuf> {
    let fits = |folder: &Path| folder.join("initdb").exists() && folder.join("pg_ctl").exists();
    if let Some(told) = std::env::var_os("HUSK_TEST_POSTGRES") {
        if told == "none" {
            eprintln!("skipped: PostgreSQL is not here, and tests/run may not install it");
            return None;
        }
        assert!(fits(Path::new(&told)), "HUSK_TEST_POSTGRES names no PostgreSQL");
        return Some(told.into());
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).find(|folder| fits(folder));
    assert!(found.is_some(), "PostgreSQL is not here: run tests/run --setup");
    found
}

/// A shell, begun with these words, as the user who is to own the folder and what is in it: PostgreSQL refuses to
/// be root.
pub(crate) fn as_nobody_special(folder: &Path, within: &[&str]) -> Command {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
    let mut words = within.to_vec();
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0 {
        let given = Command::new("chown").args(["-R", "postgres:"]).arg(folder).status().unwrap();
        assert!(given.success(), "there is no user `postgres`");
        words.extend(["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
    }
    words.push("sh");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}

/// What a wire does with what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// It passes.
    All,
    /// It passes after that time.
    Late(Duration),
    /// Nothing comes through, and nothing is said: as from a network that is cut.
    Nothing,
}

impl Carries {
    fn something(&self) -> bool {
        *self != Self::Nothing
    }
}

/// A TCP port that leads to the database, as a network would.
pub(crate) struct Wire {
    address: SocketAddr,
    carries: watch::Sender<Carries>,
    task: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Wire {
    /// A wire to that database server. Needs a runtime that runs as long as it is used.
    pub(crate) async fn to(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (carries, state) = watch::channel(Carries::All);
        let task = tokio::spawn(carry_all(listener, cluster.socket(), state));
        Self { address, carries, task }
    }

    /// The address of a database by way of the wire.
    pub(crate) fn leading_to(&self, url: &str) -> String {
        let (before, _) = url.split_once('?').unwrap();
        before.replace("localhost", &self.address.to_string())
    }

    /// From now on it carries that.
    pub(crate) fn carries(&self, what: Carries) {
        self.carries.send_replace(what);
    }
}

async fn carry_all(listener: TcpListener, socket: PathBuf, state: watch::Receiver<Carries>) {
    let mut pairs = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (socket, state) = (socket.clone(), state.clone());
        pairs.spawn(async move {
            let mut passes = state.clone();
            // A connection that is begun while the network is cut waits.
            if passes.wait_for(Carries::something).await.is_err() {
                return;
            }
            let Ok(server) = UnixStream::connect(socket).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                carry(from_client, to_server, state.clone()),
                carry(from_server, to_client, state)
            );
        });
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut state: watch::Receiver<Carries>,
) {
    let mut bytes = vec![0; 16384];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if state.wait_for(Carries::something).await.is_err() {
            return;
        }
        let wait = match *state.borrow() {
            Carries::Late(wait) => wait,
            _ => Duration::ZERO,
        };
        tokio::time::sleep(wait).await;
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    // Whoever closed its end is told apart from a network that is cut.
    if state.wait_for(Carries::something).await.is_ok() {
        let _ = to.shutdown().await;
    }
}
