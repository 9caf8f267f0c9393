//! Where the server listens: an address of TCP, or a unix socket.
//!
//! Takes connections and nothing else; what is said on them is for [`super::connection`].

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::jail;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address of this machine and a port; 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// A text that is no address to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address to listen at; write for example 127.0.0.1:8931, [::1]:8931, or unix:/run/husk.sock"
)]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.into())) };
        }
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if let Some(port) = text.strip_prefix("localhost:") {
            return port.parse().map(|port| Self::Tcp((local, port).into())).map_err(|_| bad());
        }
        text.parse().map(Self::Tcp).map_err(|_| bad())
    }
}

impl Address {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why the server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The system says no.
    #[error(
        "cannot listen at {address}; choose another address or port, or end what listens there"
    )]
    Bind {
        /// Where.
        address: Address,
        /// Why not.
        source: io::Error,
    },
    /// Something else is there.
    #[error("`{}` is there already and is no socket; give the server another path", .0.display())]
    NoSocket(PathBuf),
    /// Another server is there.
    #[error("another server answers at `{}`; end it, or give this one another path", .0.display())]
    Taken(PathBuf),
}

/// Something that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Name),
}

/// The name of a unix socket, which goes with its server.
pub(super) struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // One that somebody has removed already is as wanted.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The other end of a connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) async fn bind(address: &Address) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { address: address.clone(), source };
        match address {
            Address::Tcp(at) => TcpListener::bind(at).await.map(Self::Tcp).map_err(failed),
            Address::Unix(path) => {
                make_way(path).await?;
                let listener = bind_private(path).map_err(failed)?;
                Ok(Self::Unix(listener, Name(path.clone())))
            }
        }
    }

    /// Where it really listens.
    pub(super) fn address(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Self::Unix(_, name) => Ok(Address::Unix(name.0.clone())),
        }
    }

    /// The next connection, and the address that it comes from; of a unix socket's, none.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is two small writes: without this each call waits 40 ms for the other
                // end's delayed acknowledgement.
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

impl Stream {
    /// Whether the other end is this user or root; of TCP, which does not say, nothing.
    pub(super) fn is_ours(&self) -> Option<bool> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(stream) => {
                let user =
                    |other: tokio::net::unix::UCred| [0, jail::user_id()].contains(&other.uid());
                Some(stream.peer_cred().is_ok_and(user))
            }
        }
    }
}

/// Removes the socket of a server that was killed.
async fn make_way(path: &Path) -> Result<(), ListenError> {
    let Ok(there) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !there.file_type().is_socket() {
        return Err(ListenError::NoSocket(path.to_owned()));
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    // The system says what is wrong when it cannot be replaced.
    let _ = std::fs::remove_file(path);
    Ok(())
}

/// The socket gets its name when only this user can enter.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    let named = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&fresh, path));
    if let Err(error) = named {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_known_as_this_machines() {
        let check = |text: &str, shown: &str, local: bool| {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string().as_str(), address.is_local()), (shown, local));
        };
        check("127.0.0.1:8931", "127.0.0.1:8931", true);
        check("localhost:0", "127.0.0.1:0", true);
        check("[::1]:8931", "[::1]:8931", true);
        check("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true);
        check("0.0.0.0:8931", "0.0.0.0:8931", false);
        check("[::]:8931", "[::]:8931", false);
        check("192.168.1.7:1", "192.168.1.7:1", false);
        check("unix:/run/h.sock", "unix:/run/h.sock", true);
        for bad in ["", "8931", "example.com:80", "unix:", "127.0.0.1", "localhost:x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_unix_socket_replaces_a_dead_one_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = Address::Unix(folder.path().join("h.sock"));
        let Address::Unix(path) = &at else { unreachable!() };
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        let listener = Listener::bind(&at).await.unwrap();
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Listener::bind(&at).await, Err(ListenError::Taken(_))));
        let (client, accepted) = tokio::join!(UnixStream::connect(path), listener.accept());
        assert_eq!(accepted.unwrap().0.is_ours(), Some(true));
        drop((client, listener));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(path, "mine").unwrap();
        assert!(matches!(Listener::bind(&at).await, Err(ListenError::NoSocket(_))));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "mine");
    }
}
