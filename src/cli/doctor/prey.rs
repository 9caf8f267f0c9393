//! What attacks go for: files, sockets and a process outside of the sandbox, laid out so that it can be
//! seen afterwards whether any of it was reached.

use std::{
    fs,
    io::{self, ErrorKind},
    net::{TcpListener, UdpSocket},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

/// Disks by their usual names.
const DISKS: [&str; 6] =
    ["/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/xvda", "/dev/mmcblk0", "/dev/dm-0"];

/// See the module's documentation.
pub(super) struct Prey {
    home: tempfile::TempDir,
    other: tempfile::TempDir,
    outside: tempfile::TempDir,
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
    datagrams: UnixDatagram,
    named: Option<(String, UnixListener)>,
    victim: Child,
}

impl Prey {
    /// Lays it out; what stands for the home lies below `state`, which is in the user's own.
    pub(super) fn lay_out(state: &Path, workspace: &Path) -> io::Result<Self> {
        fs::create_dir_all(state)?;
        let home = tempfile::Builder::new().prefix("attack-").tempdir_in(state)?;
        let (other, outside) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::create_dir(home.path().join(".ssh"))?;
        for file in
            [home.path().join(".ssh/key"), other.path().join("notes"), outside.path().join("file")]
        {
            fs::write(&file, "secret")?;
        }
        for folder in [home.path(), other.path(), outside.path()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        symlink(outside.path().join("file"), workspace.join("planted"))?;
        let (socket, datagrams) =
            (outside.path().join("docker.sock"), outside.path().join("datagrams"));
        let unix = UnixListener::bind(&socket)?;
        let datagram_socket = UnixDatagram::bind(&datagrams)?;
        for path in [&socket, &datagrams] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
        }
        let mut sleep = Command::new("sleep");
        sleep.arg("3600").env("SECRET", "x").stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self {
            named: named(outside.path())?,
            tcp: TcpListener::bind("127.0.0.1:0")?,
            udp: UdpSocket::bind("127.0.0.1:0")?,
            unix,
            datagrams: datagram_socket,
            victim: sleep.spawn()?,
            home,
            other,
            outside,
        })
    }

    /// What the attacks are told of it.
    pub(super) fn described(&self) -> io::Result<Value> {
        let (port, udp) = (self.tcp.local_addr()?.port(), self.udp.local_addr()?.port());
        let victim = self.victim.id();
        Ok(json!({
            "home": self.home.path(), "other": self.other.path().join("notes"),
            "outside": self.outside.path().join("file"),
            "socket": self.outside.path().join("docker.sock"),
            "datagrams": self.outside.path().join("datagrams"),
            "port": port, "udp": udp, "server": std::process::id(), "victim": victim,
            "address": address(victim), "uid": crate::jail::user_id(),
            "here": here(self.named.as_ref().map(|(name, _)| name.as_str())),
        }))
    }

    /// What was reached, whatever the attacks say.
    pub(super) fn reached(&mut self) -> Vec<&'static str> {
        let came = |waiting: io::Result<()>| {
            waiting.err().map(|error| error.kind()) != Some(ErrorKind::WouldBlock)
        };
        let tcp = self.tcp.set_nonblocking(true).and_then(|()| self.tcp.accept().map(drop));
        let unix = self.unix.set_nonblocking(true).and_then(|()| self.unix.accept().map(drop));
        let udp =
            self.udp.set_nonblocking(true).and_then(|()| self.udp.recv(&mut [0; 8]).map(drop));
        let datagrams = &self.datagrams;
        let datagrams =
            datagrams.set_nonblocking(true).and_then(|()| datagrams.recv(&mut [0; 8]).map(drop));
        let named = self.named.as_ref().is_some_and(|(_, socket)| {
            came(socket.set_nonblocking(true).and_then(|()| socket.accept().map(drop)))
        });
        let file = self.outside.path().join("file");
        let changed = fs::read_to_string(&file).ok().as_deref() != Some("secret")
            || ["file.new", "file.moved"].iter().any(|name| file.with_file_name(name).exists())
            || self.home.path().join(".bashrc").exists();
        let all = [
            ("a TCP listener", came(tcp)),
            ("a UDP socket", came(udp)),
            ("a unix socket", came(unix)),
            ("a unix socket for datagrams", came(datagrams)),
            ("an abstract unix socket", named),
            ("a file outside", changed),
            ("a process", !matches!(self.victim.try_wait(), Ok(None))),
        ];
        all.into_iter().filter(|(_, reached)| *reached).map(|(what, _)| what).collect()
    }
}

impl Drop for Prey {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// An abstract socket, as unlike any other as the folder's name.
#[cfg(target_os = "linux")]
fn named(folder: &Path) -> io::Result<Option<(String, UnixListener)>> {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    let name = format!("husk-attack{}", folder.display());
    let address = SocketAddr::from_abstract_name(&name)?;
    Ok(Some((name, UnixListener::bind_addr(&address)?)))
}

#[cfg(not(target_os = "linux"))]
fn named(_folder: &Path) -> io::Result<Option<(String, UnixListener)>> {
    Ok(None)
}

/// Where the memory of a process begins.
fn address(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let start = maps.split('-').next().and_then(|start| u64::from_str_radix(start, 16).ok());
    start.unwrap_or(0)
}

/// What this machine has that can be attacked.
fn here(named: Option<&str>) -> Value {
    let told = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let disk = DISKS.iter().map(PathBuf::from).find(|disk| disk.exists());
    json!({
        "memory": Path::new("/dev/mem").exists().then_some("/dev/mem"),
        "disk": disk,
        "ipv6": !told("/proc/net/if_inet6").is_empty(),
        "mptcp": told("/proc/sys/net/mptcp/enabled").trim() == "1",
        "vsock": told("/proc/net/protocols").contains("AF_VSOCK"),
        "abstract": named,
    })
}
