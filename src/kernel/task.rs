//! The task that owns a kernel's sockets: obeys its [`super::Client`], follows the running cell, and
//! tells when the kernel cannot be talked to any more.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jupyter_protocol::{ExecuteRequest, InterruptRequest, ShutdownRequest};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    cell::{Cell, Finished},
    channels::{Arrival, Channels},
    client::{Gone, Watch},
    event::Event,
    journal::Journal,
    output,
    relay::Ended,
    wire::Codec,
};

/// How long a dead kernel's last messages are waited for when the relay cannot tell their end.
const DRAIN: Duration = Duration::from_millis(60);
/// How long the drain of a large backlog may go on in all.
const DRAIN_AT_MOST: Duration = Duration::from_secs(1);
/// How long a kernel may outlive one of its channels: a kernel that ends closes them one by one.
const BROKEN: Duration = Duration::from_millis(200);

/// What a client asks of the task.
pub(super) enum Command {
    Execute { code: String, watch: Option<Arc<dyn Watch>>, done: oneshot::Sender<Finished> },
    Conclude { dead: bool },
    Interrupt { by_message: bool },
    Shutdown,
}

/// The cell under way and who waits for it.
struct Running {
    cell: Cell,
    watch: Option<Arc<dyn Watch>>,
    done: oneshot::Sender<Finished>,
    /// Set when the process is dead: when to stop waiting for its last messages.
    drained_at: Option<Instant>,
    /// The end of that, however much still comes.
    drained_at_most: Option<Instant>,
}

/// The task that owns the sockets.
pub(super) struct Wire {
    codec: Codec,
    channels: Channels,
    output: output::Settings,
    journal: Option<Journal>,
    cell: Option<Running>,
    iopub_ended: bool,
    /// The kernel was asked to end: it closes its channels.
    leaving: bool,
    /// Set when a channel has ended: when the kernel counts as lost unless it has died, and why.
    broken: Option<(Instant, String)>,
    told: Told,
}

/// What the task tells to whoever asks.
pub(super) struct Told {
    /// Requests on the control channel that have no answer yet.
    unanswered: watch::Sender<u32>,
    /// Why the kernel is lost.
    gone: watch::Sender<Option<Gone>>,
}

/// The other side of [`Told`].
pub(super) struct Says {
    pub(super) unanswered: watch::Receiver<u32>,
    pub(super) gone: watch::Receiver<Option<Gone>>,
}

/// Both sides.
pub(super) fn words() -> (Told, Says) {
    let (unanswered, hears_unanswered) = watch::channel(0);
    let (gone, hears_gone) = watch::channel(None);
    (Told { unanswered, gone }, Says { unanswered: hears_unanswered, gone: hears_gone })
}

impl Wire {
    pub(super) fn new(
        codec: Codec,
        channels: Channels,
        output: output::Settings,
        journal: Option<Journal>,
        told: Told,
    ) -> Self {
        Self {
            codec,
            channels,
            output,
            journal,
            cell: None,
            iopub_ended: false,
            leaving: false,
            broken: None,
            told,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        loop {
            let cell = self.cell.as_ref();
            let ends = cell.and_then(|cell| cell.drained_at.or(cell.cell.gives_up_at()));
            let breaks = self.broken.as_ref().map(|(at, _)| *at);
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                arrival = self.channels.next() => self.arrive(arrival),
                () = at(ends) => self.finish(),
                () = at(breaks) => if let Some((_, reason)) = self.broken.take() {
                    self.lost(reason);
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Execute { code, watch, done } => self.execute(code, watch, done).await,
            Command::Conclude { dead: false } => self.finish(),
            Command::Conclude { dead: true } => self.drain(),
            Command::Interrupt { by_message } => {
                if let Some(running) = &mut self.cell {
                    running.cell.stop();
                }
                if by_message {
                    self.control("interrupt_request", &InterruptRequest {}).await;
                }
            }
            Command::Shutdown => {
                self.leaving = true;
                self.control("shutdown_request", &ShutdownRequest { restart: false }).await;
            }
        }
    }

    async fn execute(
        &mut self,
        code: String,
        watch: Option<Arc<dyn Watch>>,
        done: oneshot::Sender<Finished>,
    ) {
        let request =
            ExecuteRequest { code, stop_on_error: true, allow_stdin: false, ..Default::default() };
        let (id, frames) = match self.codec.request("execute_request", &request) {
            Ok(request) => request,
            Err(error) => return self.lost(format!("cannot write the request: {error}")),
        };
        let cell = Cell::new(id, self.output, Instant::now());
        self.cell = Some(Running { cell, watch, done, drained_at: None, drained_at_most: None });
        if let Err(error) = self.channels.send_shell(frames).await {
            self.lost(format!("the kernel's shell channel does not take requests: {error}"));
        }
    }

    async fn control(&mut self, kind: &str, content: &impl serde::Serialize) {
        let sent = match self.codec.request(kind, content) {
            Ok((_, frames)) => self.channels.send_control(frames).await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if sent.is_ok() {
            self.told.unanswered.send_modify(|count| *count += 1);
        }
        if let Err(error) = sent {
            tracing::debug!(kind, error, "the kernel's control channel does not take requests");
        }
    }

    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Shell(frames) | Arrival::Iopub(frames) => self.message(&frames),
            Arrival::Control => {
                self.told.unanswered.send_modify(|count| *count = count.saturating_sub(1))
            }
            Arrival::Ended(_, Ended::Kernel | Ended::Server) if self.leaving => {}
            Arrival::Ended(channel, Ended::Kernel | Ended::Server) => {
                let reason = format!("the kernel's {channel} channel was closed while it went on");
                self.broken.get_or_insert((Instant::now() + BROKEN, reason));
            }
            Arrival::IopubEnd => {
                self.iopub_ended = true;
                if self.cell.as_ref().is_some_and(|running| running.drained_at.is_some()) {
                    self.finish();
                }
            }
            Arrival::Ended(_, broken) => self.lost(broken.to_string()),
        }
    }

    fn message(&mut self, frames: &[Bytes]) {
        let message = match self.codec.decode(frames) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(%error, "dropped a message of the kernel"),
        };
        let Some(running) = &mut self.cell else { return };
        if message.parent != running.cell.request {
            return;
        }
        if let (Some(_), Some(at_most)) = (running.drained_at, running.drained_at_most) {
            running.drained_at = Some(at_most.min(Instant::now() + DRAIN));
        }
        let text = running.cell.hear(Event::read(message), Instant::now());
        if let Some(watch) = running.watch.as_ref().filter(|_| !text.is_empty()) {
            watch.text(&text);
        }
        if running.cell.over() {
            self.finish();
        }
    }

    fn drain(&mut self) {
        if let Some(running) = &mut self.cell {
            let wait = if self.iopub_ended { Duration::ZERO } else { DRAIN };
            running.drained_at = Some(Instant::now() + wait);
            running.drained_at_most = Some(Instant::now() + DRAIN_AT_MOST);
        }
    }

    fn finish(&mut self) {
        let Some(mut running) = self.cell.take() else { return };
        if running.drained_at.is_some() {
            self.last_words(&mut running.cell);
        }
        // The caller may have gone; then nobody wants to know.
        let _ = running.done.send(running.cell.finish());
    }

    /// Adds what the kernel had written and not sent.
    fn last_words(&self, cell: &mut Cell) {
        let Some(journal) = &self.journal else { return };
        for stderr in [false, true] {
            let [out, err] = &cell.heard;
            let unsent =
                journal.unsent(u64::from(stderr), &cell.request, if stderr { err } else { out });
            if !unsent.is_empty() {
                cell.hear(Event::Stream { stderr, text: unsent }, Instant::now());
            }
        }
    }

    fn lost(&mut self, reason: String) {
        tracing::info!(reason, "lost the kernel");
        self.told.gone.send_replace(Some(Gone(reason)));
    }
}

/// Resolves at that time; never, without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
