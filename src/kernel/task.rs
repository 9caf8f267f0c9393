//! The task that owns a kernel's sockets: obeys its [`super::Client`], follows the running cell, and
//! tells when the kernel cannot be talked to any more.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jupyter_protocol::{
    ExecuteRequest, InputReply, InterruptRequest, KernelInfoRequest, ShutdownRequest,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

#[cfg(feature = "gateway")]
use super::gateway::death;
use super::{
    carrier::Carrier,
    cell::{Cell, Finished},
    channels::{Arrival, Channel},
    client::{Adopt, Execute, Gone, Request},
    event::Event,
    journal::Journal,
    late::Earlier,
    relay::Ended,
    running::Running,
    told::Told,
    wire::{Codec, Message},
};
use crate::base::clock::at;

/// When a kernel that was interrupted is nudged: the interrupt has reached it by then.
const NUDGE: Duration = Duration::from_millis(50);
/// The answer by which ipykernel's `input()` raises `EOFError`.
const END_OF_FILE: &str = "\u{4}";
/// How long a kernel may outlive one of its channels: a kernel that ends closes them one by one.
const BROKEN: Duration = Duration::from_millis(200);

/// What a client asks of the task.
pub(super) enum Command {
    Execute(Execute, oneshot::Sender<Finished>),
    Conclude { dead: bool },
    Interrupt { by_message: bool, shared: bool },
    Input(String),
    Ask(Request, oneshot::Sender<Message>),
    Shutdown,
}

/// What is done with the answer to a request.
enum Asked {
    /// Counted: an interrupt whose answer has not come may still hit the next cell.
    Control,
    /// The kernel has come to it: it is done with the cell of that request.
    #[cfg(feature = "gateway")]
    Done(String),
    Wanted(oneshot::Sender<Message>),
}

/// The task that owns the sockets.
pub(super) struct Wire {
    codec: Codec,
    carrier: Carrier,
    journal: Option<Arc<Journal>>,
    cell: Option<Running>,
    earlier: Earlier,
    asked: HashMap<String, Asked>,
    iopub_ended: bool,
    /// The kernel was asked to end: it closes its channels.
    leaving: bool,
    /// Set when the cell was interrupted.
    nudges_at: Option<Instant>,
    /// Set when a channel has ended: when the kernel counts as lost unless it has died, and why.
    broken: Option<(Instant, String)>,
    told: Told,
}

impl Wire {
    pub(super) fn new(
        codec: Codec,
        carrier: Carrier,
        journal: Option<Arc<Journal>>,
        told: Told,
    ) -> Self {
        Self {
            codec,
            carrier,
            journal,
            cell: None,
            earlier: Earlier::default(),
            asked: HashMap::new(),
            iopub_ended: false,
            leaving: false,
            nudges_at: None,
            broken: None,
            told,
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        loop {
            let ends = self.cell.as_ref().and_then(Running::ends_at);
            let breaks = self.broken.as_ref().map(|(at, _)| *at);
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => return,
                },
                arrival = self.carrier.next() => self.arrive(arrival).await,
                () = at(ends) => self.finish(),
                () = at(self.nudges_at) => self.nudge().await,
                () = at(breaks) => if let Some((_, reason)) = self.broken.take() {
                    self.lost(reason);
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Execute(execute, done) => self.execute(execute, done).await,
            Command::Conclude { dead: false } => self.finish(),
            Command::Conclude { dead: true } => self.drain(),
            // What a shared kernel does before it begins the cell is somebody else's.
            Command::Interrupt { shared: true, .. }
                if self.cell.as_ref().is_some_and(|running| !running.cell.begun) => {}
            Command::Interrupt { by_message, .. } => {
                if let Some(running) = &mut self.cell {
                    running.cell.stop();
                    self.nudges_at = Some(Instant::now() + NUDGE);
                }
                if by_message {
                    self.control("interrupt_request", &InterruptRequest {}).await;
                }
            }
            Command::Input(value) => self.input(value).await,
            Command::Ask(request, answer) => self.ask(request, answer).await,
            Command::Shutdown => {
                self.leaving = true;
                self.control("shutdown_request", &ShutdownRequest { restart: false }).await;
            }
        }
    }

    async fn execute(&mut self, execute: Execute, done: oneshot::Sender<Finished>) {
        let Execute { request: id, code, output, watch, asks, trace } = execute;
        let request =
            ExecuteRequest { code, stop_on_error: true, allow_stdin: asks, ..Default::default() };
        let message = (trace.as_ref(), &request);
        let frames = match self.codec.request_as(&id, None, "execute_request", message) {
            Ok(frames) => frames,
            Err(error) => return self.lost(format!("cannot write the request: {error}")),
        };
        let cell = Cell::new(id, output, Instant::now());
        self.cell = Some(Running::new(cell, watch, done));
        if let Err(error) = self.carrier.send(Channel::Shell, frames).await {
            self.lost(format!("the kernel's shell channel does not take requests: {error}"));
        }
    }

    /// Follows a cell that an earlier server has handed to the kernel; `early` is what has come of it.
    /// What it had printed before is read from the journal, as far as it was sent; what was sent in
    /// this moment may be told twice.
    pub(super) fn adopt(
        &mut self,
        adopt: Adopt,
        done: oneshot::Sender<Finished>,
        early: Vec<Message>,
    ) {
        let Adopt { request, output, watch } = adopt;
        let mut cell = Cell::new(request, output, Instant::now());
        for stderr in [false, true] {
            let journal = self.journal.as_ref();
            let text = journal.map(|journal| journal.sent(u64::from(stderr), &cell.request));
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                cell.hear(Event::Stream { stderr, text }, Instant::now());
            }
        }
        self.cell = Some(Running::new(cell, watch, done));
        // Text that came early is in the journal.
        let text = |message: &Message| message.kind == "stream" && self.journal.is_some();
        let early: Vec<Message> = early.into_iter().filter(|message| !text(message)).collect();
        early.into_iter().for_each(|message| self.message(message));
    }

    /// An ipykernel that waits in `await` has taken note of the interrupt, and obeys when anything
    /// at all wakes its loop (tornado's `add_callback` in a signal handler does not); one that waits
    /// in `input()` beside an `await` hears only an answer.
    async fn nudge(&mut self) {
        self.nudges_at = None;
        let Some(running) = &self.cell else { return };
        // The journal tells that it is ipykernel, which throws away an answer that comes too late.
        if running.asks && self.journal.is_some() {
            self.input(END_OF_FILE.to_owned()).await;
        }
        if let Ok((_, frames)) = self.codec.request("kernel_info_request", &KernelInfoRequest {})
            && let Err(error) = self.carrier.send(Channel::Shell, frames).await
        {
            tracing::debug!(%error, "the kernel's shell channel does not take requests");
        }
    }

    async fn control(&mut self, kind: &str, content: &impl serde::Serialize) {
        let (id, frames) = match self.codec.request(kind, content) {
            Ok(request) => request,
            Err(error) => return tracing::error!(kind, %error, "cannot write a request"),
        };
        match self.carrier.send(Channel::Control, frames).await {
            Ok(()) => {
                self.asked.insert(id, Asked::Control);
                self.told.unanswered.send_modify(|count| *count += 1);
            }
            Err(error) => {
                tracing::debug!(kind, %error, "the kernel's control channel does not take requests");
            }
        }
    }

    /// Answers `input()`.
    async fn input(&mut self, value: String) {
        self.cell.iter_mut().for_each(|running| running.asks = false);
        let reply = InputReply { value, status: jupyter_protocol::ReplyStatus::Ok, error: None };
        let sent = match self.codec.request("input_reply", &reply) {
            Ok((_, frames)) => {
                self.carrier.send(Channel::Stdin, frames).await.map_err(|e| e.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            self.lost(format!("the kernel's stdin channel does not take answers: {error}"));
        }
    }

    async fn ask(&mut self, request: Request, answer: oneshot::Sender<Message>) {
        let Request { control, subshell, kind, content } = request;
        let Ok((id, frames)) = self.codec.request_to(subshell.as_deref(), kind, &content) else {
            return;
        };
        // Whoever gave up left its entry behind.
        self.asked.retain(|_, asked| !matches!(asked, Asked::Wanted(answer) if answer.is_closed()));
        self.asked.insert(id, Asked::Wanted(answer));
        let sent = match control {
            true => self.carrier.send(Channel::Control, frames).await,
            false => self.carrier.send(Channel::Shell, frames).await,
        };
        if let Err(error) = sent {
            tracing::debug!(kind, %error, "the kernel does not take requests");
        }
    }

    async fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Shell(frames)
            | Arrival::Iopub(frames)
            | Arrival::Control(frames)
            | Arrival::Stdin(frames) => {
                let decoded = self.codec.decode(&frames);
                drop(frames);
                match decoded {
                    Ok(message) => self.message(message),
                    Err(error) => tracing::warn!(%error, "dropped a message of the kernel"),
                }
            }
            Arrival::Ended(_, Ended::Kernel | Ended::Server) if self.leaving => {}
            Arrival::Ended(channel, Ended::Kernel | Ended::Server) => {
                let reason = format!("the kernel's {channel} channel was closed while it went on");
                self.broken.get_or_insert((Instant::now() + BROKEN, reason));
            }
            Arrival::IopubEnd => {
                self.iopub_ended = true;
                if self.cell.as_ref().is_some_and(Running::drains) {
                    self.finish();
                }
            }
            Arrival::Ended(_, broken) => self.lost(broken.to_string()),
            #[cfg(feature = "gateway")]
            Arrival::Lost(why) => self.lost(why),
            #[cfg(feature = "gateway")]
            Arrival::Again => self.again().await,
        }
    }

    /// The connection to the gateway was made anew. Whether the kernel has the cell, and whether its end
    /// has come by, is told by the answer to a request that the kernel comes to after it.
    #[cfg(feature = "gateway")]
    async fn again(&mut self) {
        let Some(running) = &mut self.cell else { return };
        running.cell.seen_again();
        let cell = running.cell.request.clone();
        let Ok((id, frames)) = self.codec.request("kernel_info_request", &KernelInfoRequest {})
        else {
            return;
        };
        match self.carrier.send(Channel::Shell, frames).await {
            Ok(()) => drop(self.asked.insert(id, Asked::Done(cell))),
            Err(error) => tracing::debug!(%error, "the kernel does not take requests"),
        }
    }

    fn message(&mut self, message: Message) {
        #[cfg(feature = "gateway")]
        if let Some(why) = death::told(&message).filter(|_| self.carrier.is_gateway()) {
            return self.lost(why.to_owned());
        }
        if message.kind.ends_with("_reply") && self.asked.contains_key(&message.parent) {
            return self.answered(message);
        }
        if message.kind == "stream" {
            self.told.heard.fetch_add(1, Ordering::Relaxed);
        }
        let event = Event::read(&message);
        // A large message is not held beside what was read of it.
        let Message { parent, .. } = message;
        if let Event::Update(display) = &event
            && self.update(display)
        {
            return;
        }
        match &mut self.cell {
            Some(running) if running.cell.request == parent => self.hear(event),
            _ => {
                if self.earlier.hear(&parent, event) {
                    self.told.late.send_modify(|count| *count += 1);
                }
            }
        }
    }

    fn answered(&mut self, message: Message) {
        match self.asked.remove(&message.parent) {
            Some(Asked::Control) => {
                self.told.unanswered.send_modify(|count| *count = count.saturating_sub(1));
            }
            #[cfg(feature = "gateway")]
            Some(Asked::Done(request)) => {
                let cell = self.cell.as_mut().map(|running| &mut running.cell);
                if let Some(cell) = cell.filter(|cell| cell.request == request) {
                    cell.is_done(Instant::now());
                }
            }
            // Who asked may have given up.
            Some(Asked::Wanted(answer)) => drop(answer.send(message)),
            None => {}
        }
    }

    /// Replaces a display wherever it stands; whether it was found.
    fn update(&mut self, display: &super::event::Display) -> bool {
        if self.cell.as_ref().is_some_and(|running| running.cell.output.update(display)) {
            return true;
        }
        let found = self.earlier.update(display);
        if found {
            self.told.late.send_modify(|count| *count += 1);
        }
        found
    }

    /// A message about the running cell.
    fn hear(&mut self, event: Event) {
        let Some(running) = &mut self.cell else { return };
        if running.hear(event) {
            self.nudges_at = Some(Instant::now() + NUDGE);
        }
        // The journal tells that the kernel runs on husk's launcher.
        if running.cell.over() && self.journal.is_some() {
            self.finish();
        }
    }

    fn drain(&mut self) {
        let all = self.iopub_ended;
        self.cell.iter_mut().for_each(|running| running.drain(all));
    }

    fn finish(&mut self) {
        let Some(running) = self.cell.take() else { return };
        self.earlier.ended(&running.cell);
        running.finish(self.journal.as_deref());
    }

    fn lost(&mut self, reason: String) {
        tracing::info!(reason, "lost the kernel");
        self.told.gone.send_replace(Some(Gone(reason)));
    }
}
