//! A connection through the proxy: bytes both ways, until either side has ended.
//!
//! Nothing of it is read but the first words of TLS, which name a host: it must be the one that the
//! way was opened to.

use std::io;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, split},
    net::TcpStream,
};

use super::{
    gate::Gate,
    hello::{self, Said},
};
use crate::base::hosts::{Host, Refusal, Target, Why};

/// TLS's own word for a name that is not served here, fatal.
const UNKNOWN_NAME: [u8; 7] = [21, 3, 1, 0, 2, 2, 112];

/// A connection that has been opened for a kernel.
pub(super) struct Tunnel {
    pub(super) host: TcpStream,
    pub(super) target: Target,
    /// The kernel's side, once it has been told.
    pub(super) kernel: OnUpgrade,
}

/// Why a connection ends before its time.
#[derive(Debug, thiserror::Error)]
enum Cut {
    /// A side is gone.
    #[error("a side of the connection is gone")]
    Gone(#[from] io::Error),
    /// Another host is meant than the one that was asked for.
    #[error("{0}")]
    Other(Refusal),
    /// TLS that nobody can read.
    #[error("what begins as TLS is none")]
    Broken,
}

impl Tunnel {
    /// Carries bytes until it ends.
    pub(super) async fn carry(self, gate: &Gate) {
        match self.kernel.await {
            Ok(kernel) => carry(TokioIo::new(kernel), self.host, &self.target, gate).await,
            Err(error) => tracing::debug!(%error, "a kernel's connection was not taken"),
        }
    }
}

pub(super) async fn carry(
    kernel: impl AsyncRead + AsyncWrite,
    host: impl AsyncRead + AsyncWrite,
    target: &Target,
    gate: &Gate,
) {
    let (mut from_kernel, mut to_kernel) = split(kernel);
    let (mut from_host, mut to_host) = split(host);
    let there = async {
        greet(&mut from_kernel, &mut to_host, target).await?;
        copy(&mut from_kernel, &mut to_host).await?;
        Ok(to_host.shutdown().await?)
    };
    let back = async {
        copy(&mut from_host, &mut to_kernel).await?;
        Ok::<(), Cut>(to_kernel.shutdown().await?)
    };
    let cut = match tokio::try_join!(there, back) {
        Ok(_) | Err(Cut::Gone(_)) => return,
        Err(cut) => cut,
    };
    tracing::debug!(%cut, %target, "a kernel's connection was cut");
    if let Cut::Other(refusal) = cut {
        gate.refused(refusal);
    }
    // Whoever is gone need not be told.
    let _ = to_kernel.write_all(&UNKNOWN_NAME).await;
    let _ = to_kernel.shutdown().await;
}

/// Passes on what a kernel says first, if it is for that host.
async fn greet(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    target: &Target,
) -> Result<(), Cut> {
    let mut said = Vec::new();
    loop {
        match hello::read(&said) {
            Said::More if said.len() > 2 * hello::LONGEST => return Err(Cut::Broken),
            Said::More => {
                if from.read_buf(&mut said).await? == 0 {
                    break;
                }
            }
            Said::Broken => return Err(Cut::Broken),
            Said::Hello(Some(name)) => {
                means(&name, target)?;
                break;
            }
            Said::Other | Said::Hello(None) => break,
        }
    }
    Ok(to.write_all(&said).await?)
}

/// Whether that name means the host that was asked for. An address has no name that could differ.
fn means(name: &str, target: &Target) -> Result<(), Cut> {
    let Host::Name(asked) = &target.host else { return Ok(()) };
    match Host::parse(name) {
        Some(Host::Name(name)) if name == *asked => Ok(()),
        Some(host) => {
            let target = Target { host, port: target.port };
            let why = Why::Inside { other: Host::Name(asked.clone()) };
            Err(Cut::Other(Refusal { target, why }))
        }
        None => Err(Cut::Broken),
    }
}
