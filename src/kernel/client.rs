//! Drives one kernel: a task owns its sockets, a [`Client`] asks it.
//!
//! One execute request is under way at a time (the queue is the session's): with `stop_on_error`
//! a kernel drops what is queued behind an error. Nothing here waits for ever: an execution ends by
//! the kernel's word, by a grace after half of it, or when its owner concludes it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

#[cfg(feature = "gateway")]
use super::gateway::{Gateway, GatewayError, KernelId, socket::Socket};
use super::{
    carrier::{Carrier, SendError},
    cell::Finished,
    channels::{self, Channels, OpenError},
    connection::Connection,
    event::Question,
    handshake::handshake,
    journal::Journal,
    output::Output,
    relay::{self, Ended},
    task::{Command, Wire},
    told::{self, Delivery, Says},
    wire::{Codec, Message},
};
use crate::base::trace_context::TraceContext;

/// Sees what a running cell does. Called from the task that owns the sockets: it must not block.
pub trait Watch: Send + Sync {
    /// Text was added to its output, as it came.
    fn text(&self, text: &str);
    /// It waits for a line of text: [`Line::input`].
    fn asks(&self, question: Question);
}

/// A cell to be executed.
pub struct Execute {
    /// The id of the request: whoever knows it can follow the cell.
    pub request: String,
    /// The code.
    pub code: String,
    /// Takes what it puts out.
    pub output: Arc<Output>,
    /// Sees what it does.
    pub watch: Option<Arc<dyn Watch>>,
    /// Whether it may ask for text; otherwise `input()` raises at once.
    pub asks: bool,
    /// The trace that it belongs to: husk's launcher tells it in the environment.
    pub trace: Option<TraceContext>,
}

/// A cell that an earlier server has handed to the kernel.
pub struct Adopt {
    /// The id of its request.
    pub request: String,
    /// Takes what it puts out from now on, and before that what the kernel's journal has kept.
    pub output: Arc<Output>,
    /// Sees what it does.
    pub watch: Option<Arc<dyn Watch>>,
}

/// What is known of a kernel that another server has started.
pub struct Known {
    /// What it said of itself.
    pub info: Info,
    /// Whether it answers on its control channel while a cell runs.
    pub control: bool,
    /// The cell that it may run.
    pub adopt: Option<Adopt>,
}

/// A request that is no cell.
#[derive(Debug, Clone)]
pub struct Request {
    /// On the control channel; otherwise on shell.
    pub control: bool,
    /// The subshell that shall answer.
    pub subshell: Option<String>,
    /// `msg_type`.
    pub kind: &'static str,
    /// The content.
    pub content: Value,
}

/// What a kernel says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Info {
    /// For example `ipython`.
    pub implementation: String,
    /// Version of the implementation.
    pub version: String,
    /// For example `python`.
    pub language: String,
    /// For example `3.11.7`.
    pub language_version: String,
    /// Of source in that language, for example `text/x-python`.
    pub mimetype: String,
    /// Of files in that language, for example `.py`.
    pub file_extension: String,
    /// Jupyter protocol version.
    pub protocol: String,
    /// Optional features, for example `kernel subshells`.
    pub features: Vec<String>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The channels did not open.
    #[error("the kernel's channels did not open")]
    Open(#[source] OpenError),
    /// A channel ended during the handshake.
    #[error("the kernel left during the handshake: {0}")]
    Left(Ended),
    /// It gives no sign of life.
    #[error("the kernel's heartbeat does not answer")]
    NoHeartbeat,
    /// A request could not be sent.
    #[error("the kernel's shell channel does not take requests")]
    Send(#[source] SendError),
    /// Its gateway does not lead to it.
    #[cfg(feature = "gateway")]
    #[error("its gateway does not lead to it")]
    Gateway(#[source] GatewayError),
    /// It was lost during the handshake.
    #[cfg(feature = "gateway")]
    #[error("it was lost before it answered: {0}")]
    Lost(String),
    /// A request could not be written.
    #[error("cannot write a request")]
    Encode(#[source] serde_json::Error),
}

/// Why a kernel can no longer be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Gone(pub String);

/// A connected kernel. Dropping it closes the channels.
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
    says: Says,
    journal: Option<Arc<Journal>>,
    info: Info,
}

/// A cell under way; dropping it only stops listening.
pub struct Execution {
    done: oneshot::Receiver<Finished>,
}

/// Asks a connected kernel; any number of them.
#[derive(Clone)]
pub struct Line(mpsc::UnboundedSender<Command>);

impl Line {
    /// Answers the question of the cell under way.
    pub fn input(&self, value: String) {
        // A task that has ended has no cell.
        let _ = self.0.send(Command::Input(value));
    }

    /// Sends a request; its answer, or `None` when the kernel is gone. Never gives up by itself:
    /// some requests get no answer at all.
    pub async fn ask(&self, request: Request) -> Option<Message> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Command::Ask(request, answer)).ok()?;
        answered.await.ok()
    }
}

impl Execution {
    /// The cell's end; `None` when the task that owns the sockets has ended without a word.
    /// Cancel-safe.
    pub async fn finished(&mut self) -> Option<Finished> {
        (&mut self.done).await.ok()
    }
}

impl Client {
    /// Connects to a kernel that is starting, and waits until it answers and publishes.
    ///
    /// Never gives up by itself: race it against the kernel's death and a deadline.
    ///
    /// # Errors
    /// [`ConnectError`] when a channel fails.
    pub async fn connect(
        connection: &Connection,
        caps: relay::Settings,
        journal: Option<Journal>,
    ) -> Result<Self, ConnectError> {
        Ok(Self::meet(connection, caps, journal, None).await?.0)
    }

    /// Connects to a kernel that another server has started: first its heartbeat is asked, then the
    /// kernel. Also the cell that it may run, from here on.
    ///
    /// Never gives up by itself: race it against the kernel's death and a deadline.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn reconnect(
        connection: &Connection,
        caps: relay::Settings,
        journal: Option<Journal>,
        known: Known,
    ) -> Result<(Self, Option<Execution>), ConnectError> {
        match channels::heartbeat(connection, caps).await {
            Ok(true) => {}
            Ok(false) => return Err(ConnectError::NoHeartbeat),
            Err(error) => return Err(ConnectError::Open(error)),
        }
        Self::meet(connection, caps, journal, Some(known)).await
    }

    async fn meet(
        connection: &Connection,
        caps: relay::Settings,
        journal: Option<Journal>,
        known: Option<Known>,
    ) -> Result<(Self, Option<Execution>), ConnectError> {
        let codec = Codec::new(&connection.key);
        let opened = Channels::open(connection, caps, &connection.identity).await;
        let carrier = Carrier::Sockets(Box::new(opened.map_err(ConnectError::Open)?));
        Self::greet(codec, carrier, journal, known).await
    }

    /// Connects to a kernel that a gateway has started, and waits until it answers and publishes.
    ///
    /// Never gives up by itself.
    ///
    /// # Errors
    /// [`ConnectError`].
    #[cfg(feature = "gateway")]
    pub async fn reach(
        gateway: Arc<Gateway>,
        id: KernelId,
        caps: relay::Settings,
    ) -> Result<Self, ConnectError> {
        let codec = Codec::unsigned();
        let socket = Socket::open(gateway, id, codec.session(), caps).await;
        let carrier = Carrier::Gateway(socket.map_err(ConnectError::Gateway)?);
        Ok(Self::greet(codec, carrier, None, None).await?.0)
    }

    async fn greet(
        codec: Codec,
        mut carrier: Carrier,
        journal: Option<Journal>,
        known: Option<Known>,
    ) -> Result<(Self, Option<Execution>), ConnectError> {
        let mut early = Vec::new();
        let keep = known.as_ref().is_some_and(|known| known.adopt.is_some());
        let control = known.as_ref().is_some_and(|known| known.control);
        let told = handshake(&mut carrier, &codec, control, keep.then_some(&mut early)).await?;
        let (info, adopt) = known.map_or((told, None), |known| (known.info, known.adopt));
        let (commands, inbox) = mpsc::unbounded_channel();
        let (told, says) = told::words();
        let journal = journal.map(Arc::new);
        let mut wire = Wire::new(codec, carrier, journal.clone(), told);
        let execution = adopt.map(|adopt| {
            let (done, receiver) = oneshot::channel();
            wire.adopt(adopt, done, early);
            Execution { done: receiver }
        });
        let task = tokio::spawn(wire.run(inbox));
        Ok((Self { commands, task, says, journal, info }, execution))
    }

    /// What the kernel says of itself.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Starts a cell. The caller sees to it that only one is under way.
    pub fn execute(&self, execute: Execute) -> Execution {
        let (done, receiver) = oneshot::channel();
        self.tell(Command::Execute(execute, done));
        Execution { done: receiver }
    }

    /// A way to ask the kernel while somebody else owns this client.
    pub fn line(&self) -> Line {
        Line(self.commands.clone())
    }

    /// Changes when a cell that had ended has put something out.
    pub fn late(&self) -> watch::Receiver<u64> {
        self.says.late.clone()
    }

    /// Ends the cell under way with what has come, which its [`Execution`] then tells. `dead` says
    /// that the process is gone: its last messages and its journal are read first.
    pub fn conclude(&self, dead: bool) {
        self.tell(Command::Conclude { dead });
    }

    /// The cell under way is interrupted: by a message on the control channel, or (when the caller
    /// sends a signal) without one. Half of its end is enough from here on. In a kernel that is
    /// `shared` a cell that has not begun is left alone: the interrupt would hit somebody else's.
    pub fn interrupt(&self, by_message: bool, shared: bool) {
        self.tell(Command::Interrupt { by_message, shared });
    }

    /// How far the kernel is with what its cell has written.
    pub fn delivery(&self) -> Delivery {
        self.says.delivery(self.journal.as_deref())
    }

    /// Resolves when every request on the control channel has been answered: an interrupt that is
    /// still under way would hit the next cell.
    pub async fn control_answered(&self) {
        let mut unanswered = self.says.unanswered.clone();
        // A task that has ended has nothing under way.
        let _ = unanswered.wait_for(|count| *count == 0).await;
    }

    /// Asks the kernel to end itself.
    pub fn shutdown(&self) {
        self.tell(Command::Shutdown);
    }

    /// Resolves when the kernel cannot be talked to any more.
    pub async fn gone(&self) -> Gone {
        let mut gone = self.says.gone.clone();
        match gone.wait_for(Option::is_some).await {
            Ok(gone) => {
                gone.clone().unwrap_or_else(|| Gone("the kernel's channels closed".to_owned()))
            }
            Err(_) => Gone("the task that owns the kernel's channels ended".to_owned()),
        }
    }

    /// A task that has ended drops the command: its senders inside tell the waiting side.
    fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}
