//! What the server and a kernel's init say to each other over the lifeline.
//!
//! First the server sends the order: its length in four bytes, then JSON. From then on it sends
//! signal numbers, one byte each. Init answers in lines.

use std::{
    ffi::OsString,
    io::{self, Read},
};
#[cfg(target_os = "linux")]
use std::{
    io::IoSlice,
    mem::MaybeUninit,
    net::TcpListener,
    os::{fd::AsFd, unix::net::UnixStream},
};

#[cfg(target_os = "linux")]
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

use super::{cgroup::Group, plan::Plan, report::Layer};

/// Longest order that init reads, in bytes.
const LONGEST: usize = 16 << 20;

/// What init is to do.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// How the kernel is isolated.
    pub(super) plan: Plan,
    /// The kernel's whole environment. Init itself has none: a kernelspec, which cells may have
    /// written, sets variables that make a program load what it names.
    pub(super) environment: Vec<(OsString, OsString)>,
}

/// A line of init.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The control group that the kernel is in.
    Group(Group),
    /// A layer is in force.
    Layer(Layer),
    /// A listener comes with this line.
    Listens,
    /// The kernel runs; its process id as init sees it.
    Started(u32),
    /// The program cannot be run; why.
    Failed(String),
    /// The isolation cannot be made; at which step, and why.
    Denied(String),
}

impl Word {
    /// Reads a line; nothing of one that init does not say.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.trim_end().split_once(' ')?;
        match word {
            "group" => serde_json::from_str(rest).ok().map(Self::Group),
            "listens" => Some(Self::Listens),
            "layer" => serde_json::from_str(rest).ok().map(Self::Layer),
            "started" => rest.parse().ok().map(Self::Started),
            "failed" => Some(Self::Failed(rest.to_owned())),
            "denied" => Some(Self::Denied(rest.to_owned())),
            _ => None,
        }
    }
}

/// The order as it is sent.
pub(super) fn sent(order: &Order) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(order)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    Ok([&length.to_le_bytes(), text.as_slice()].concat())
}

/// Says that a port is open in the kernel's own network, and hands its listener over with that line.
#[cfg(target_os = "linux")]
pub(super) fn hand_over(lifeline: &UnixStream, listener: &TcpListener) -> io::Result<()> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut room);
    let handles = [listener.as_fd()];
    if !beside.push(SendAncillaryMessage::ScmRights(&handles)) {
        return Err(io::Error::other("no room for the listener"));
    }
    let line = b"listens proxy\n";
    let sent = sendmsg(lifeline, &[IoSlice::new(line)], &mut beside, SendFlags::empty())?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Reads the order, and not a byte more.
pub(super) fn receive(mut from: impl Read) -> io::Result<Order> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_init_says_them() {
        let check = |line: &str, expected| assert_eq!(Word::parse(line), expected, "{line}");
        check("started 17\n", Some(Word::Started(17)));
        check("failed x: no\n", Some(Word::Failed("x: no".into())));
        check("listens proxy\n", Some(Word::Listens));
        check("denied map the user: no\n", Some(Word::Denied("map the user: no".into())));
        check("started x\n", None);
        check("", None);
    }
}
