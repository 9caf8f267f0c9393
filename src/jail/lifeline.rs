//! Init's end of the lifeline: what the server says, and what happens when it goes.
//!
//! A server that goes takes everything with it, unless it has said for how long the kernel is to be
//! kept. For so long init waits for another one, which comes to the socket [`NAME`] and names the
//! epoch of its claim: one that is not newer than the last is sent away, and the last one is cut off.
//! Meanwhile nobody else watches what the kernel uses, so init does.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[cfg(target_os = "linux")]
use super::word;

/// The socket at which init waits, in the run folder: where only the server's user may enter.
pub(super) const NAME: &str = "s/life";

/// The word that is followed by a number of seconds, four bytes: for how long the kernel is kept when
/// the server goes. Signals have smaller numbers.
pub(super) const KEEP: u8 = 0xfe;

/// How long who comes may take to name its epoch.
const HELLO: Duration = Duration::from_secs(1);

/// Between two looks at what an unattended kernel uses, and how much longer than a look that is.
const LOOKS: Duration = Duration::from_secs(1);
const RESTS: u32 = 20;

/// The lifeline and those who may take it up.
pub(super) struct Lifeline {
    state: Mutex<State>,
    came: Condvar,
    /// What who comes is told first.
    greeting: Mutex<Greeting>,
}

#[derive(Default)]
struct Greeting {
    /// The one way out of the kernel's own network.
    listener: Option<TcpListener>,
    text: String,
}

struct State {
    /// The server's end of the present one; nothing while nobody is there.
    server: Option<Arc<UnixStream>>,
    epoch: u64,
    keep: Duration,
}

/// What a server said.
pub(super) enum Said {
    /// This signal is to be sent.
    Signal(u8),
    /// Nothing more, and nobody has come in its place.
    Gone,
}

impl Lifeline {
    pub(super) fn new(server: UnixStream) -> Self {
        let state = State { server: Some(Arc::new(server)), epoch: 0, keep: Duration::ZERO };
        Self { state: Mutex::new(state), came: Condvar::new(), greeting: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self) -> Option<Arc<UnixStream>> {
        self.state().server.clone()
    }

    /// Tells the server a line.
    pub(super) fn tell(&self, line: &str) {
        if let Some(server) = self.server() {
            // A server that is gone needs no answer; its end is seen by the thread that listens.
            let _ = writeln!(&*server, "{}", line.replace('\n', " "));
        }
    }

    /// The same, and tells it to whoever comes later.
    pub(super) fn announce(&self, line: &str) {
        let line = line.replace('\n', " ");
        self.tell(&line);
        let mut greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        greeting.text.push_str(&line);
        greeting.text.push('\n');
    }

    /// Hands a listener of the kernel's own network over, also to whoever comes later.
    #[cfg(target_os = "linux")]
    pub(super) fn offer(&self, listener: TcpListener) -> io::Result<()> {
        if let Some(server) = self.server() {
            word::hand_over(&server, &listener)?;
        }
        self.greeting.lock().unwrap_or_else(PoisonError::into_inner).listener = Some(listener);
        Ok(())
    }

    /// What the server says next. While nobody is there, `is_over` is asked whether all must end.
    pub(super) fn said(&self, is_over: impl Fn() -> bool) -> Said {
        loop {
            let Some(server) = self.server() else {
                if !self.somebody_comes(&is_over) {
                    return Said::Gone;
                }
                continue;
            };
            let mut byte = [0u8];
            match (&*server).read(&mut byte) {
                Ok(1) if byte == [KEEP] => self.keeps(&server),
                Ok(1) => {
                    let [number] = byte;
                    return Said::Signal(number);
                }
                _ => self.has_gone(&server),
            }
        }
    }

    fn keeps(&self, mut server: &UnixStream) {
        let mut seconds = [0u8; 4];
        if server.read_exact(&mut seconds).is_ok() {
            self.state().keep = Duration::from_secs(u32::from_le_bytes(seconds).into());
        }
    }

    /// That one has gone; another may have come in its place already.
    fn has_gone(&self, server: &Arc<UnixStream>) {
        let mut state = self.state();
        state.server.take_if(|present| Arc::ptr_eq(present, server));
    }

    /// Waits as long as the kernel is kept; whether somebody has come.
    fn somebody_comes(&self, is_over: &impl Fn() -> bool) -> bool {
        let mut state = self.state();
        let end = Instant::now() + state.keep;
        let mut pause = LOOKS;
        while state.server.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.came.wait_timeout(state, left.min(pause));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.server.is_none() {
                drop(state);
                let begun = Instant::now();
                if is_over() {
                    return false;
                }
                pause = LOOKS.max(begun.elapsed() * RESTS);
                state = self.state();
            }
        }
        true
    }

    /// Lets others take up the lifeline. Never returns while the socket stands.
    pub(super) fn receive(&self, listener: &UnixListener) {
        for server in listener.incoming().map_while(Result::ok) {
            self.meet(server);
        }
    }

    fn meet(&self, server: UnixStream) {
        let mut epoch = [0u8; 8];
        let _ = server.set_read_timeout(Some(HELLO));
        if (&server).read_exact(&mut epoch).is_err() || server.set_read_timeout(None).is_err() {
            return;
        }
        let epoch = u64::from_le_bytes(epoch);
        // Held until it is there: what is announced meanwhile is told to it too.
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if epoch <= state.epoch || greeting.tell(&server).is_err() {
            return;
        }
        state.epoch = epoch;
        if let Some(overtaken) = state.server.replace(Arc::new(server)) {
            // Whoever reads from it goes on with the new one.
            let _ = overtaken.shutdown(Shutdown::Both);
        }
        self.came.notify_all();
    }
}

impl Greeting {
    fn tell(&self, mut server: &UnixStream) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if let Some(listener) = &self.listener {
            word::hand_over(server, listener)?;
        }
        server.write_all(self.text.as_bytes())
    }
}

/// Listens for who may come, where there is a place for that.
pub(super) fn listen(run_folder: Option<&Path>) -> Option<UnixListener> {
    UnixListener::bind(run_folder?.join(NAME)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(folder: &Path, epoch: u64) -> UnixStream {
        let server = UnixStream::connect(folder.join(NAME)).unwrap();
        (&server).write_all(&epoch.to_le_bytes()).unwrap();
        server
    }

    fn read_line(mut server: &UnixStream) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while server.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn a_newer_claim_takes_the_lifeline_and_an_older_one_is_sent_away() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("s")).unwrap();
        let listener = listen(Some(folder.path())).unwrap();
        let (first, theirs) = UnixStream::pair().unwrap();
        let lifeline = Arc::new(Lifeline::new(theirs));
        lifeline.announce("started 7");
        assert_eq!(read_line(&first), "started 7");
        let receiving = Arc::clone(&lifeline);
        std::thread::spawn(move || receiving.receive(&listener));
        let second = come(folder.path(), 2);
        assert_eq!(read_line(&second), "started 7");
        assert_eq!(read_line(&first), "", "the first one is cut off");
        assert_eq!(read_line(&come(folder.path(), 2)), "", "not newer");
        (&second).write_all(&[9]).unwrap();
        assert!(matches!(lifeline.said(|| false), Said::Signal(9)));
        lifeline.tell("exited 0");
        assert_eq!(read_line(&second), "exited 0");
        // It is kept for nobody unless a server says so.
        drop(second);
        assert!(matches!(lifeline.said(|| false), Said::Gone));
    }

    #[test]
    fn a_kernel_that_is_kept_waits_for_the_next_server_and_ends_when_it_uses_too_much() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("s")).unwrap();
        let listener = listen(Some(folder.path())).unwrap();
        let (first, theirs) = UnixStream::pair().unwrap();
        let lifeline = Arc::new(Lifeline::new(theirs));
        let receiving = Arc::clone(&lifeline);
        std::thread::spawn(move || receiving.receive(&listener));
        (&first).write_all(&[&[KEEP][..], &3600u32.to_le_bytes()].concat()).unwrap();
        drop(first);
        let waiting = Arc::clone(&lifeline);
        let said = std::thread::spawn(move || waiting.said(|| false));
        let second = come(folder.path(), 1);
        (&second).write_all(&[15]).unwrap();
        assert!(matches!(said.join().unwrap(), Said::Signal(15)));
        drop(second);
        assert!(matches!(lifeline.said(|| true), Said::Gone));
    }
}
