//! What init says before the kernel runs, and the listener that it may hand over with it.
//!
//! A handle travels beside the bytes of a line and is lost to who only reads them: so here the
//! lifeline is read by the one call that takes both.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::{io::Interest, net::UnixStream};

use super::{cgroup::Group, process::SpawnError, report::Layer, settings::Level, word::Word};

/// More than init ever says before the kernel runs, in bytes.
const LONGEST: usize = 1 << 20;

/// What has been said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// The kernel's process id as its init sees it.
    pub(super) pid: u32,
    /// The layers that hold it.
    pub(super) layers: Vec<Layer>,
    /// The control group that it is in.
    pub(super) group: Group,
    /// A listener in the kernel's own network.
    pub(super) listener: Option<TcpListener>,
    /// What came behind it.
    pub(super) rest: Vec<u8>,
}

/// Reads until the kernel runs, or cannot.
pub(super) async fn words(lifeline: &UnixStream, level: Level) -> Result<Said, SpawnError> {
    let mut said = Said::default();
    loop {
        while let Some(end) = said.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = said.rest.drain(..=end).collect();
            match Word::parse(&String::from_utf8_lossy(&line)) {
                Some(Word::Layer(layer)) => said.layers.push(layer),
                Some(Word::Group(group)) => said.group = group,
                Some(Word::Listens) => {}
                Some(Word::Started(pid)) => return Ok(Said { pid, ..said }),
                Some(Word::Failed(reason)) => return Err(SpawnError::Program(reason)),
                Some(Word::Denied(why)) => return Err(SpawnError::Denied { level, why }),
                None => return Err(SpawnError::Silent),
            }
        }
        let more = more(lifeline, &mut said).await;
        if more.map_err(|_| SpawnError::Silent)? == 0 || said.rest.len() > LONGEST {
            return Err(SpawnError::Silent);
        }
    }
}

/// Waits for more; how many bytes came.
async fn more(lifeline: &UnixStream, said: &mut Said) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let (count, handle) =
        lifeline.async_io(Interest::READABLE, || receive(lifeline.as_fd(), &mut bytes)).await?;
    said.rest.extend(bytes.iter().take(count));
    if let Some(handle) = handle {
        said.listener = Some(handle.into());
    }
    Ok(count)
}

fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut room);
    let got = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut beside, CLOSED_ON_EXEC)?;
    let handles = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(handles) => Some(handles),
        _ => None,
    });
    Ok((got.bytes, handles.flatten().next()))
}

/// No other program that the server starts shall inherit it.
#[cfg(target_os = "linux")]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSED_ON_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        io::{Read, Write},
        net::{Ipv4Addr, TcpStream},
    };

    use super::*;
    use crate::jail::word;

    #[tokio::test]
    async fn a_listener_comes_with_the_words_and_what_is_behind_them_is_kept() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut theirs = theirs.into_std().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        word::hand_over(&theirs, &listener).unwrap();
        drop(listener);
        theirs.write_all(b"started 17\nexited 0\n").unwrap();
        let said = words(&ours, Level::Namespaces).await.unwrap();
        assert_eq!((said.pid, said.rest.as_slice()), (17, &b"exited 0\n"[..]));
        let mut peer = TcpStream::connect(address).unwrap();
        let (mut taken, _) = said.listener.unwrap().accept().unwrap();
        peer.write_all(b"x").unwrap();
        taken.read_exact(&mut [0]).unwrap();
    }

    #[tokio::test]
    async fn an_init_that_says_nothing_of_use_is_told() {
        for text in ["", "started", "nonsense 1\n"] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let mut theirs = theirs.into_std().unwrap();
            theirs.write_all(text.as_bytes()).unwrap();
            drop(theirs);
            let said = words(&ours, Level::Namespaces).await;
            assert!(matches!(said, Err(SpawnError::Silent)), "{text}");
        }
    }
}
