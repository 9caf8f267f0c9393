//! What the tests of isolation share: as whom a server runs, and what attacks may go for.

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::{PermissionsExt, chown},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{HUSK, host::Host, python};

/// An ordinary user that nobody else is.
pub(super) const USER: u32 = 4321;

/// As whom the server runs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum As {
    Root,
    User,
}

impl As {
    /// Those that this test can be; who is no root can only be itself.
    pub(crate) fn all() -> &'static [Self] {
        if rustix::process::geteuid().is_root() { &[Self::Root, Self::User] } else { &[Self::User] }
    }

    pub(super) fn uid(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::User if rustix::process::geteuid().is_root() => USER,
            Self::User => rustix::process::geteuid().as_raw(),
        }
    }

    /// A command that runs as that user.
    pub(super) fn command(self, program: &str) -> Command {
        if self.uid() == rustix::process::geteuid().as_raw() {
            return Command::new(program);
        }
        let id = self.uid();
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.args(["--inh-caps=-all", program]);
        command
    }

    /// A folder of that user, which others may look into.
    pub(crate) fn folder(self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        self.own(folder.path());
        folder
    }

    pub(super) fn own(self, path: &Path) {
        chown(path, Some(self.uid()), Some(self.uid())).unwrap();
    }

    /// A server with these settings.
    pub(crate) fn host(self, home: &Path, settings: &[(&str, &str)]) -> Host {
        let workspace = self.folder();
        let mut command = self.command(HUSK);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HUSK_") {
                command.env_remove(name);
            }
        }
        command.env_remove("XDG_RUNTIME_DIR").env("HOME", home).env("HUSK_PYTHON", python());
        command.env("HUSK_DATA_DIR", home.join(".local/share/husk"));
        command.env("SECRET", "of the server").current_dir(workspace.path());
        command.envs(settings.iter().copied());
        let mut host = Host::run(command, workspace);
        host.initialize("2025-11-25");
        host
    }
}

/// What an attack may go for, outside of the sandbox.
pub(super) struct Prey {
    pub(super) home: TempDir,
    other: TempDir,
    pub(super) outside: TempDir,
    pub(super) tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    datagrams: UnixDatagram,
    named: UnixListener,
    victim: Child,
}

impl Prey {
    pub(super) fn lay_out(user: As) -> Self {
        let (home, other, outside) = (user.folder(), user.folder(), user.folder());
        fs::create_dir(home.path().join(".ssh")).unwrap();
        let open =
            [home.path().join(".ssh/key"), other.path().join("notes"), outside.path().join("file")];
        for path in &open {
            fs::write(path, "secret").unwrap();
            user.own(path);
        }
        let everybody = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        };
        let unix = UnixListener::bind(outside.path().join("docker.sock")).unwrap();
        everybody(&outside.path().join("docker.sock"));
        let datagrams = UnixDatagram::bind(outside.path().join("datagrams")).unwrap();
        everybody(&outside.path().join("datagrams"));
        // As unlike any other as the folder's name.
        let address = format!("husk-test{}", outside.path().display());
        let named = SocketAddr::from_abstract_name(address).unwrap();
        let mut victim = user.command("sleep");
        let victim = victim.arg("1000").env("SECRET", "x").stdout(Stdio::null()).spawn().unwrap();
        Self {
            home,
            other,
            outside,
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            udp: UdpSocket::bind("127.0.0.1:0").unwrap(),
            unix,
            datagrams,
            named: UnixListener::bind_addr(&named).unwrap(),
            victim,
        }
    }

    pub(super) fn described(&self, host: &Host, user: As) -> Value {
        let named = self.named.local_addr().unwrap();
        let named = String::from_utf8(named.as_abstract_name().unwrap().to_vec()).unwrap();
        json!({
            "home": self.home.path(), "other": self.other.path().join("notes"),
            "outside": self.outside.path().join("file"), "abstract": named,
            "socket": self.outside.path().join("docker.sock"),
            "datagrams": self.outside.path().join("datagrams"),
            "port": self.tcp.local_addr().unwrap().port(),
            "udp": self.udp.local_addr().unwrap().port(),
            "server": host.child.id(), "victim": self.victim.id(), "uid": user.uid(),
            "address": self.address(), "here": here(&named),
        })
    }

    /// Where the memory of the victim begins.
    fn address(&self) -> u64 {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.victim.id())).unwrap();
        u64::from_str_radix(maps.split('-').next().unwrap(), 16).unwrap()
    }

    /// Nothing has been reached, whatever the cells say.
    pub(super) fn must_be_untouched(&mut self) {
        assert!(self.victim.try_wait().unwrap().is_none(), "the victim has ended");
        self.tcp.set_nonblocking(true).unwrap();
        self.unix.set_nonblocking(true).unwrap();
        self.named.set_nonblocking(true).unwrap();
        self.udp.set_nonblocking(true).unwrap();
        self.datagrams.set_nonblocking(true).unwrap();
        let nothing = |what: &str, came: Option<ErrorKind>| {
            assert_eq!(came, Some(ErrorKind::WouldBlock), "{what} was reached");
        };
        nothing("tcp", self.tcp.accept().err().map(|error| error.kind()));
        nothing("unix", self.unix.accept().err().map(|error| error.kind()));
        nothing("abstract", self.named.accept().err().map(|error| error.kind()));
        nothing("udp", self.udp.recv(&mut [0; 8]).err().map(|error| error.kind()));
        nothing("datagrams", self.datagrams.recv(&mut [0; 8]).err().map(|error| error.kind()));
        assert_eq!(fs::read_to_string(self.outside.path().join("file")).unwrap(), "secret");
        assert!(!self.outside.path().join("file.new").exists());
        assert!(!self.outside.path().join("file.moved").exists());
        assert!(!self.home.path().join(".bashrc").exists());
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// What this machine has that can be attacked.
fn here(named: &str) -> Value {
    let there = |path: &str| Path::new(path).exists().then(|| path.to_owned());
    let told = |file: &str| fs::read_to_string(file).unwrap_or_default();
    json!({
        "memory": there("/dev/mem"), "disk": there("/dev/vda").or_else(|| there("/dev/sda")),
        "ipv6": !told("/proc/net/if_inet6").is_empty(),
        "mptcp": told("/proc/sys/net/mptcp/enabled").trim() == "1",
        "vsock": told("/proc/net/protocols").contains("AF_VSOCK"), "abstract": named,
    })
}
