//! One attempt at one target: a POST, and the answer in pieces or whole, each phase with its own
//! limit of time.
//!
//! Decides nothing: whatever goes wrong is a [`Failure`] with its class.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{Response, header::HeaderMap};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, timeout, timeout_at},
};

use super::{
    draft::{Draft, Piece},
    endpoint::Endpoint,
    error::{Class, Failure, LlmError, Phase},
    provider::Event,
    reply::Reply,
    request::Request,
    retry_after, wire,
};
use crate::base::causes;

/// The most bytes of a whole answer.
const MOST: usize = 64 << 20;
/// The most bytes of an error that are read.
const MOST_OF_ERROR: usize = 64 << 10;
/// How long the end mark may take after the model has said why it stops.
const GRACE: Duration = Duration::from_secs(1);
/// How long the connection's end of an answer may take, so that it can serve again.
const AFTERGLOW: Duration = Duration::from_millis(20);

/// How long each phase of an attempt may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) headers: Duration,
    pub(super) first_token: Duration,
    pub(super) idle: Duration,
    /// The same, while the arguments of a call are written.
    pub(super) calling: Duration,
    pub(super) total: Duration,
}

/// Where what is shown goes, and whether anything has.
pub(super) struct Shown {
    events: UnboundedSender<Event>,
    pub(super) any: bool,
}

impl Shown {
    pub(super) fn new(events: UnboundedSender<Event>) -> Self {
        Self { events, any: false }
    }

    /// Shows an event. Who no longer listens has given the question up.
    pub(super) fn send(&mut self, event: Event) {
        self.any |= matches!(event, Event::Text(_) | Event::Thinking(_) | Event::Call { .. });
        let _ = self.events.send(event);
    }

    /// Takes back what was shown of an answer, if anything was.
    pub(super) fn reset(&mut self) {
        if std::mem::take(&mut self.any) {
            self.send(Event::Reset);
        }
    }
}

/// An HTTP client: that of all targets, and of whoever else asks over HTTPS.
///
/// # Errors
/// [`LlmError::Https`].
pub fn client(connect: Duration) -> Result<reqwest::Client, LlmError> {
    // Whoever uses this library with a choice of its own has made it already, and keeps it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(connect)
        .tcp_nodelay(true)
        // A POST with a key that is sent on somewhere else is worse than a failure.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("husk/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(LlmError::Https)
}

/// Asks once.
pub(super) async fn attempt(
    http: &reqwest::Client,
    endpoint: &Endpoint,
    request: &Request,
    stream: bool,
    limits: &Limits,
    shown: &mut Shown,
) -> Result<Reply, Failure> {
    let begun = Instant::now();
    let post = wire::post(endpoint, request, stream, SystemTime::now())?;
    let mut call = http.post(post.url).body(post.body);
    for (name, value) in post.headers {
        call = call.header(name, value);
    }
    // An answer in one piece has its headers when it is whole.
    let most = if stream { limits.headers } else { limits.headers.max(limits.total) };
    let most = if endpoint.target.timeouts.headers.is_some() { limits.headers } else { most };
    let response = match timeout(most.min(limits.total), call.send()).await {
        Ok(sent) => sent.map_err(|error| not_sent(&error))?,
        Err(_) => return Err(late(Phase::Headers, most.min(limits.total))),
    };
    let until = begun + limits.total;
    let status = response.status().as_u16();
    if !response.status().is_success() {
        return Err(refused(endpoint, status, response, until).await);
    }
    let streamed = stream && !is_json(response.headers());
    if streamed {
        let mut reading = Reading { response, limits, until, shown, draft: Draft::default() };
        reading.follow(wire::Feed::new(endpoint.target.kind)).await?;
        reading.draft.finish()
    } else {
        let body = read(response, until, MOST).await?;
        let mut draft = Draft::default();
        for piece in wire::whole(endpoint.target.kind, &body)? {
            draft.take(piece).into_iter().for_each(|event| shown.send(event));
        }
        draft.finish()
    }
}

/// A server may answer in one piece though a stream was asked for.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get("content-type").and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.trim_start().starts_with("application/json"))
}

fn late(phase: Phase, after: Duration) -> Failure {
    let what = match phase {
        Phase::Headers => "no answer began",
        Phase::FirstToken => "no first word came",
        Phase::Idle => "nothing more came",
        Phase::Total => "the answer was not whole",
    };
    let failure = Failure::new(Class::Timeout(phase), format!("{what} within {after:?}"));
    Failure { in_stream: phase != Phase::Headers, ..failure }
}

fn not_sent(error: &reqwest::Error) -> Failure {
    let class = if error.is_builder() { Class::BadRequest } else { Class::Connect };
    Failure::new(class, causes::told(error, ": "))
}

async fn refused(endpoint: &Endpoint, status: u16, response: Response, until: Instant) -> Failure {
    let headers = response.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let retry_after = retry_after::read(header, SystemTime::now());
    // Whatever of the body can be had explains the status; the status stands without it.
    let body = read(response, until.min(Instant::now() + GRACE * 5), MOST_OF_ERROR).await;
    let failure = wire::failure(endpoint.target.kind, status, &body.unwrap_or_default());
    Failure { retry_after, ..failure }
}

async fn read(mut response: Response, until: Instant, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(bytes))) if body.len() + bytes.len() <= most => {
                body.extend_from_slice(&bytes)
            }
            Ok(Ok(Some(_))) => {
                let much = format!("the answer has more than {most} bytes");
                return Err(Failure::new(Class::Stream, much).in_stream());
            }
            Ok(Ok(None)) => return Ok(body),
            Ok(Err(error)) => {
                return Err(Failure::new(Class::Stream, causes::told(&error, ": ")).in_stream());
            }
            Err(_) => return Err(late(Phase::Total, until.duration_since(Instant::now()))),
        }
    }
}

/// A streamed answer that is being read.
struct Reading<'a> {
    response: Response,
    limits: &'a Limits,
    until: Instant,
    shown: &'a mut Shown,
    draft: Draft,
}

impl Reading<'_> {
    /// Reads to the end of the answer.
    async fn follow(&mut self, mut feed: wire::Feed) -> Result<(), Failure> {
        let first_by = Instant::now() + self.limits.first_token;
        let mut began = false;
        while !self.draft.is_ended() {
            let bytes = match self.next(first_by, began, feed.may_end_unmarked()).await? {
                Some(bytes) => feed.push(&bytes)?,
                None => {
                    let stopped = self.draft.is_stopped();
                    self.take(feed.end(stopped)?);
                    return Ok(());
                }
            };
            began |= self.take(bytes);
        }
        // The connection's own end mark: without it the connection cannot serve again.
        let _ = timeout(AFTERGLOW, self.response.chunk()).await;
        Ok(())
    }

    /// Takes pieces; whether anything of the answer itself was among them.
    fn take(&mut self, pieces: Vec<Piece>) -> bool {
        let mut any = false;
        for piece in pieces {
            if let Some(event) = self.draft.take(piece) {
                any = true;
                self.shown.send(event);
            }
        }
        any
    }

    /// The next bytes; nothing when there are no more, or none need be waited for.
    async fn next(
        &mut self,
        first_by: Instant,
        began: bool,
        may_end: bool,
    ) -> Result<Option<Bytes>, Failure> {
        let ending = may_end && self.draft.is_stopped();
        let now = Instant::now();
        let calling = self.draft.is_calling();
        let idle = if calling { self.limits.calling } else { self.limits.idle };
        let (until, phase, limit) = match (ending, began) {
            (true, _) => (now + GRACE, Phase::Idle, GRACE),
            (_, true) => (now + idle, Phase::Idle, idle),
            (_, false) => (first_by, Phase::FirstToken, self.limits.first_token),
        };
        let (until, phase, limit) = match self.until < until {
            true => (self.until, Phase::Total, self.limits.total),
            false => (until, phase, limit),
        };
        match timeout_at(until, self.response.chunk()).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Err(_) | Ok(Err(_)) if ending => Ok(None),
            Ok(Err(error)) => {
                Err(Failure::new(Class::Stream, causes::told(&error, ": ")).in_stream())
            }
            Err(_) => Err(late(phase, limit)),
        }
    }
}
