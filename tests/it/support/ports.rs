//! Ports for programs that have to be told theirs.

use std::{
    iter::repeat_with,
    net::TcpListener,
    ops::Range,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// None of those that the system gives to whoever asks for any, and none where the kernels of `examples` listen.
const PORTS: Range<u16> = 30_001..32_768;

/// A port that was free a moment ago, and that nobody is given meanwhile: this process gives each once in a turn.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let turn = || GIVEN.fetch_add(1, Ordering::Relaxed).wrapping_add(process::id() * 101);
    let count = u32::from(PORTS.end - PORTS.start);
    let next = || PORTS.start + u16::try_from(turn() % count).unwrap();
    repeat_with(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}
