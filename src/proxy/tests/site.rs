//! A host on this machine behind a proxy, and what is said to both.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

use super::super::{gate::Gate, *};
use crate::base::hosts::Entry;

pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A host on this machine, and a gate that lets through to it as `site.test`.
pub(super) struct Site {
    pub(super) listener: TcpListener,
    pub(super) gate: Arc<Gate>,
    pub(super) record: Arc<Record>,
    pub(super) looked_up: Arc<AtomicUsize>,
    pub(super) port: u16,
}

impl Site {
    /// `entries` may hold `PORT` for its own.
    pub(super) async fn open(entries: &[&str]) -> Self {
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let entries = entries.iter().map(|entry| entry.replace("PORT", &port.to_string()));
        let policy = Policy::Listed(entries.map(|entry| Entry::parse(&entry).unwrap()).collect());
        let (record, looked_up) = (Arc::new(Record::default()), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&looked_up);
        // What it says changes with each question: first what is wanted, then where it is worse.
        let look_up = move |name: &str| -> io::Result<Vec<IpAddr>> {
            let again = counted.fetch_add(1, Ordering::Relaxed) > 0;
            match name {
                "site.test" => Ok(vec![LOCAL]),
                "rebinding.test" if again => Ok(vec![Ipv4Addr::new(127, 0, 0, 2).into()]),
                "rebinding.test" => Ok(vec![LOCAL]),
                "metadata.test" => Ok(vec![Ipv4Addr::new(169, 254, 169, 254).into()]),
                _ => Err(io::Error::new(io::ErrorKind::NotFound, "nobody knows it")),
            }
        };
        let gate = Arc::new(Gate::with(policy, Arc::clone(&record), Arc::new(look_up)));
        Self { listener, gate, record, looked_up, port }
    }

    /// A kernel's connection to the proxy.
    pub(super) fn kernel(&self, silence: Duration) -> (DuplexStream, JoinSet<()>) {
        let (kernel, proxy) = duplex(1 << 16);
        let mut task = JoinSet::new();
        task.spawn(connection::serve(proxy, Arc::clone(&self.gate), silence));
        (kernel, task)
    }

    /// All that the proxy answers to that, once both are done.
    pub(super) async fn exchange(&self, said: &str) -> String {
        let (mut kernel, _task) = self.kernel(SILENCE);
        kernel.write_all(said.replace("PORT", &self.port.to_string()).as_bytes()).await.unwrap();
        read_all(&mut kernel).await
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.record.since(0, 10)
    }

    pub(super) async fn is_untouched(&self) {
        let nothing = Duration::from_millis(1);
        assert!(tokio::time::timeout(nothing, self.listener.accept()).await.is_err());
    }
}

pub(super) async fn read_all(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    from.read_to_end(&mut all).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// The head of a message.
pub(super) async fn head(from: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

pub(super) async fn say(to: &mut (impl AsyncWrite + Unpin), text: &str) {
    to.write_all(text.as_bytes()).await.unwrap();
}
