//! How a kernel is told where to listen: the connection file, its sockets and the key.
//!
//! Unix sockets by default: no port race, no network. Makes names and writes one file; opens no
//! connection.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jupyter_protocol::{ConnectionInfo, connection_info::Transport};
use serde::{Deserialize, Serialize};

use super::relay::Endpoint;
use crate::base::{ids, secret::Secret};

/// Longest path of a unix socket in bytes, without the closing zero (`sun_path` on Linux; macOS
/// has 103).
pub const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Where and how the server and one kernel meet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    /// Where the kernel listens.
    pub shell: Endpoint,
    /// Where the kernel listens.
    pub control: Endpoint,
    /// Where the kernel asks.
    pub stdin: Endpoint,
    /// Where the kernel publishes.
    pub iopub: Endpoint,
    /// Where the kernel echoes.
    pub heartbeat: Endpoint,
    /// What stands for husk in the kernel's eyes: who has it gets what the kernel answers, also what
    /// an earlier server has asked.
    pub identity: String,
    /// Signs all messages.
    #[serde(with = "revealed")]
    pub key: Secret,
    /// The file that the kernel reads.
    pub file: PathBuf,
    /// The server's own folder, for the relay's sockets.
    pub inner: PathBuf,
}

/// Why a connection could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// A connection file that somebody else wrote cannot be read.
    #[error("cannot read the connection file `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A connection file that somebody else wrote cannot be used.
    #[error("cannot use the connection file `{}`: {why}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The run folder's path leaves no room for a socket's name.
    #[error(
        "the run folder `{}` is too long for unix sockets ({MAX_SOCKET_PATH} bytes with the socket's name); \
         set XDG_RUNTIME_DIR or TMPDIR to a shorter one",
        .0.display()
    )]
    TooLong(PathBuf),
    /// The system gave no randomness for the key.
    #[error("the operating system gave no random numbers for the kernel's key")]
    NoKey,
    /// The file or a port could not be made.
    #[error("cannot prepare the kernel's connection in `{}`", .path.display())]
    Io {
        /// The run folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The ports that a bridged kernel listens on, in the order of its connection file.
pub const BRIDGED: [u16; 5] = [9001, 9002, 9003, 9004, 9005];

/// Which transport a kernel gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Unix sockets in the run folder.
    Ipc,
    /// Ports on 127.0.0.1, for kernels that cannot do unix sockets.
    Tcp,
    /// Such ports where only the kernel is; sockets in the run folder lead there.
    Bridged,
}

impl Connection {
    /// The name of its file in the run folder.
    pub const FILE: &str = "connection.json";

    /// Prepares a connection in `outer`, which the kernel may see, as `seen`, and `inner`, which it
    /// may not; both exist and belong to this user alone.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn prepare(
        outer: &Path,
        seen: &Path,
        inner: &Path,
        wire: Wire,
    ) -> Result<Self, ConnectionError> {
        let failed = |source| ConnectionError::Io { path: outer.to_owned(), source };
        let key = Secret::new(ids::random_hex(32));
        if key.reveal().is_empty() {
            return Err(ConnectionError::NoKey);
        }
        let names = [outer.join("k-9005"), seen.join("k-9005"), inner.join("control")];
        if names.iter().any(|name| name.as_os_str().len() > MAX_SOCKET_PATH) {
            return Err(ConnectionError::TooLong(outer.to_owned()));
        }
        let info = info(seen, wire, &key).map_err(failed)?;
        let endpoint = |port| match wire {
            Wire::Ipc | Wire::Bridged => Endpoint::Ipc(outer.join(format!("k-{port}"))),
            Wire::Tcp => Endpoint::Tcp((Ipv4Addr::LOCALHOST, port).into()),
        };
        let file = outer.join(Self::FILE);
        write_private(&file, &info).map_err(failed)?;
        Ok(Self {
            shell: endpoint(info.shell_port),
            control: endpoint(info.control_port),
            stdin: endpoint(info.stdin_port),
            iopub: endpoint(info.iopub_port),
            heartbeat: endpoint(info.hb_port),
            identity: ids::random_hex(16),
            key,
            file,
            inner: inner.to_owned(),
        })
    }
}

impl Connection {
    /// Reads the connection file of a kernel that somebody else started. `inner` is as in
    /// [`Self::prepare`].
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub fn of_file(file: &Path, inner: &Path) -> Result<Self, ConnectionError> {
        let text = std::fs::read(file)
            .map_err(|source| ConnectionError::Read { path: file.to_owned(), source })?;
        let unusable = |why| ConnectionError::Unusable { path: file.to_owned(), why };
        let info: ConnectionInfo =
            serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
        if info.signature_scheme != "hmac-sha256" {
            return Err(unusable(format!("husk cannot sign with `{}`", info.signature_scheme)));
        }
        if info.key.is_empty() {
            return Err(unusable(
                "it has no key, so anybody could speak for the kernel".to_owned(),
            ));
        }
        let ip: Option<IpAddr> = info.ip.parse().ok();
        let endpoint = |port: u16| match (&info.transport, ip) {
            (Transport::IPC, _) => Ok(Endpoint::Ipc(format!("{}-{port}", info.ip).into())),
            (Transport::TCP, Some(ip)) => Ok(Endpoint::Tcp((ip, port).into())),
            (Transport::TCP, None) => Err(unusable(format!("`{}` is no IP address", info.ip))),
        };
        Ok(Self {
            shell: endpoint(info.shell_port)?,
            control: endpoint(info.control_port)?,
            stdin: endpoint(info.stdin_port)?,
            iopub: endpoint(info.iopub_port)?,
            heartbeat: endpoint(info.hb_port)?,
            identity: ids::random_hex(16),
            key: Secret::new(info.key.clone()),
            file: file.to_owned(),
            inner: inner.to_owned(),
        })
    }
}

/// The key in the file that a server leaves for the next one.
mod revealed {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::base::secret::Secret;

    pub(super) fn serialize<S: Serializer>(key: &Secret, to: S) -> Result<S::Ok, S::Error> {
        key.reveal().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// What the kernel is told. Over unix sockets a "port" is the ending of a socket's name.
fn info(seen: &Path, wire: Wire, key: &Secret) -> io::Result<ConnectionInfo> {
    let local = || "127.0.0.1".to_owned();
    let (transport, ip, ports) = match wire {
        Wire::Ipc => {
            (Transport::IPC, seen.join("k").to_string_lossy().into_owned(), [1, 2, 3, 4, 5])
        }
        Wire::Tcp => (Transport::TCP, local(), free_ports()?),
        // All are free where nobody else is.
        Wire::Bridged => (Transport::TCP, local(), BRIDGED),
    };
    let [shell_port, iopub_port, stdin_port, control_port, hb_port] = ports;
    Ok(ConnectionInfo {
        ip,
        transport,
        shell_port,
        iopub_port,
        stdin_port,
        control_port,
        hb_port,
        key: key.reveal().to_owned(),
        signature_scheme: "hmac-sha256".to_owned(),
        kernel_name: None,
    })
}

fn write_private(path: &Path, info: &ConnectionInfo) -> io::Result<()> {
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    Ok(serde_json::to_writer(file, info)?)
}

/// Five ports that were free a moment ago. Another process may take one before the kernel binds;
/// the kernel then ends at once and the start is tried anew.
fn free_ports() -> io::Result<[u16; 5]> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let held = [bind()?, bind()?, bind()?, bind()?, bind()?];
    let mut ports = [0; 5];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_private_and_names_the_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let connection =
            Connection::prepare(dir.path(), dir.path(), dir.path(), Wire::Ipc).unwrap();
        assert_eq!(connection.iopub, Endpoint::Ipc(dir.path().join("k-2")));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&connection.file).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let info: ConnectionInfo =
            serde_json::from_slice(&std::fs::read(&connection.file).unwrap()).unwrap();
        assert_eq!(info.shell_url(), format!("ipc://{}-1", dir.path().join("k").display()));
        assert_eq!(info.key.len(), 64);
    }

    #[test]
    fn ports_differ() {
        let mut ports = free_ports().unwrap().to_vec();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 5);
    }

    #[test]
    fn a_folder_too_long_for_sockets_is_named() {
        let long = PathBuf::from(format!("/{}", "x".repeat(110)));
        let error = Connection::prepare(&long, &long, &long, Wire::Ipc).unwrap_err();
        assert!(error.to_string().contains("too long for unix sockets"), "{error}");
    }
}
