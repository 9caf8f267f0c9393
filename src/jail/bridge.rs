//! Brings the server to ports inside a sandbox, for kernels that can only do TCP.
//!
//! Process 1 of the sandbox listens on unix sockets in the run folder and passes what comes to the
//! kernel's ports, which nobody outside can reach. The server takes what comes for what it is: the
//! kernel's.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use super::plan::Bridge;

/// How often a kernel that does not listen yet is tried again, and how far apart: for ten minutes,
/// longer than any start may take.
const TRIES: u32 = 60_000;
const AGAIN: Duration = Duration::from_millis(10);

/// Opens the sockets; each is served by a thread of its own until the sandbox ends.
pub(super) fn open(bridges: &[Bridge]) -> io::Result<Vec<(UnixListener, u16)>> {
    bridges.iter().map(|bridge| Ok((UnixListener::bind(&bridge.socket)?, bridge.port))).collect()
}

/// Serves them.
pub(super) fn serve(listeners: Vec<(UnixListener, u16)>) {
    for (listener, port) in listeners {
        std::thread::spawn(move || {
            for server in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || pass(&server, port));
            }
        });
    }
}

fn pass(server: &UnixStream, port: u16) {
    let Some(kernel) = (0..TRIES).find_map(|_| reach(port)) else { return };
    // Only slower without.
    let _ = kernel.set_nodelay(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*server, &mut &kernel);
            let _ = kernel.shutdown(Shutdown::Write);
        });
        let _ = io::copy(&mut &kernel, &mut &*server);
        let _ = server.shutdown(Shutdown::Both);
    });
}

fn reach(port: u16) -> Option<TcpStream> {
    let kernel = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    if kernel.is_none() {
        std::thread::sleep(AGAIN);
    }
    kernel
}
