//! The model client: goes through the tree, target by target and attempt by attempt, until an answer
//! is whole.
//!
//! What is decided is decided elsewhere (`route`, `stream`, the breaker's heart); here it is carried
//! out.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    answers::Answers,
    cache,
    driven::Driven,
    endpoint::{Endpoint, Ticket},
    error::{Class, Failure, LlmError, Tried},
    guardrail::{self, Guardrails},
    http::{self, Limits, Shown},
    keys::{Keys, Surroundings},
    message::Block,
    price::Prices,
    provider::{Answer, Event, EventStream, Now, Provider, Status},
    reply::Reply,
    request::Request,
    route::{Kind, Routes, Target, Walk},
    settings::{About, Settings},
    stream::{Course, Next, Pauses},
    wire,
};
use crate::{base::budget, guard::breaker::heart::Verdict};

/// What a client is built with.
#[derive(Default)]
pub struct Parts {
    /// Its settings.
    pub settings: Settings,
    /// The hooks that routes may name.
    pub guardrails: Guardrails,
    /// The file with keys.
    pub key_file: Option<PathBuf>,
    /// Answers that are kept, for targets whose routes want it.
    pub answers: Answers,
    /// What models cost.
    pub prices: Prices,
}

/// Asks the models of a tree of routes. Clones are the same client.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    routes: Routes,
    /// By [`Target::id`].
    endpoints: Vec<Endpoint>,
    http: reqwest::Client,
    parts: Parts,
    /// A number from 0 to 1 for choices and pauses.
    roll: fn() -> f64,
}

impl Client {
    /// Finds the keys of all targets.
    ///
    /// # Errors
    /// Every key and hook that is missing, or that HTTPS cannot be set up.
    pub fn new(routes: Routes, parts: Parts, here: &dyn Surroundings) -> Result<Self, LlmError> {
        let keys = Keys::new(here, parts.key_file.clone());
        let (mut endpoints, mut faults) = (Vec::new(), Vec::new());
        for target in routes.targets() {
            faults.extend(guardrail::missing(&parts.guardrails, target));
            match Endpoint::new(target.clone(), &keys, &parts.settings.health()) {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(LlmError::Routes(faults));
        }
        let http = http::client(parts.settings.connect)?;
        Ok(Self(Arc::new(Inner { routes, endpoints, http, parts, roll })))
    }
}

impl Provider for Client {
    fn stream(&self, request: Arc<Request>) -> EventStream {
        let inner = Arc::clone(&self.0);
        Box::pin(Driven::new(|events| async move {
            let request = Arc::unwrap_or_clone(request).settled();
            let mut call = Call::new(&inner, &request, Shown::new(events));
            call.run().await
        }))
    }
}

/// A random number from 0 to 1.
fn roll() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    // The keys of a new hasher are random: no crate is needed for what only spreads and chooses.
    let bits = RandomState::new().hash_one(()) >> 11;
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let share = bits as f64 / (1u64 << 53) as f64;
    share
}

/// One question on its way.
struct Call<'a> {
    inner: &'a Inner,
    request: &'a Request,
    shown: Shown,
    begun: Instant,
    attempts: u32,
    tried: Vec<Tried>,
    told_degraded: bool,
}

/// What a target has to say at last.
enum Outcome {
    Reply(Box<Reply>),
    /// It was kept.
    Kept(Box<Reply>),
    Failed(Failure),
    /// The budget of the call is used up.
    Over(Failure),
}

impl<'a> Call<'a> {
    fn new(inner: &'a Inner, request: &'a Request, shown: Shown) -> Self {
        let begun = Instant::now();
        Self { inner, request, shown, begun, attempts: 0, tried: Vec::new(), told_degraded: false }
    }

    async fn run(&mut self) -> Result<Answer, LlmError> {
        let mut walk = Walk::new(&self.inner.routes.root);
        let mut roll = self.inner.roll;
        let mut target = walk.first(&mut roll);
        let mut skipped = Vec::new();
        while let Some(it) = target {
            let failure = match self.ask_or_find(it, walk.has_spare()).await {
                Outcome::Reply(reply) => return Ok(self.answer(it, *reply)),
                Outcome::Kept(reply) => return Ok(self.kept(it, *reply)),
                Outcome::Over(failure) => return Err(self.over(it, failure)),
                Outcome::Failed(failure) => failure,
            };
            if failure.class == Class::BreakerOpen {
                skipped.push(it);
            }
            target = walk.after(&failure, &mut roll);
            if target.is_some() && self.is_over(Duration::ZERO) {
                return Err(self.over(it, failure));
            }
            if let Some(next) = target {
                self.tell(Now::Fallback, &failure, &next.name);
            }
            self.note(it, failure);
        }
        self.ask_skipped(skipped).await
    }

    /// Better one that failed often just now than no answer at all.
    async fn ask_skipped(&mut self, skipped: Vec<&Target>) -> Result<Answer, LlmError> {
        let refused = self.tried.last().is_some_and(|it| it.failure.class == Class::ContentFilter);
        for target in skipped.into_iter().filter(|_| !refused) {
            match self.ask(target, false).await {
                Outcome::Reply(reply) => return Ok(self.answer(target, *reply)),
                Outcome::Kept(reply) => return Ok(self.kept(target, *reply)),
                Outcome::Over(failure) => return Err(self.over(target, failure)),
                Outcome::Failed(failure) => self.note(target, failure),
            }
        }
        Err(LlmError::NoAnswer(std::mem::take(&mut self.tried)))
    }

    /// Keeps what a target said last; attempts are counted in the order of targets.
    fn note(&mut self, target: &Target, failure: Failure) {
        let before: u32 = self.tried.iter().map(|tried| tried.attempts).sum();
        let attempts = self.attempts.saturating_sub(before);
        self.tried.push(Tried { target: target.name.clone(), attempts, failure });
    }

    fn over(&mut self, target: &Target, failure: Failure) -> LlmError {
        self.note(target, failure);
        let settings = &self.inner.parts.settings;
        LlmError::Budget {
            seconds: settings.total.as_secs(),
            attempts: settings.attempts,
            tried: std::mem::take(&mut self.tried),
        }
    }

    fn answer(&self, target: &Target, reply: Reply) -> Answer {
        // The model that was asked for tells more than the name under which it answers.
        let asked = target.params.model.as_deref().or(self.request.params.model.as_deref());
        let prices = &self.inner.parts.prices;
        let cost = asked.and_then(|model| prices.cost(model, &reply.usage));
        let cost = cost.or_else(|| prices.cost(&reply.model, &reply.usage));
        let (target, attempts) = (target.name.clone(), self.attempts);
        Answer { reply, target, attempts, kept: false, cost }
    }

    /// Shows an answer that was kept as if it came.
    fn kept(&mut self, target: &Target, reply: Reply) -> Answer {
        for block in &reply.content {
            match block {
                Block::Text { text, .. } => self.shown.send(Event::Text(text.clone())),
                Block::Thinking { thinking, .. } => {
                    self.shown.send(Event::Thinking(thinking.clone()));
                }
                _ => {}
            }
        }
        let (target, attempts) = (target.name.clone(), self.attempts);
        Answer { reply, target, attempts, kept: true, cost: Some(0.0) }
    }

    fn tell(&mut self, now: Now, failure: &Failure, target: &str) {
        self.shown.send(Event::Status(Status {
            now,
            reason: failure.class.word(),
            message: failure.to_string(),
            target: target.to_owned(),
        }));
    }

    fn endpoint(&self, target: &Target) -> Option<&'a Endpoint> {
        self.inner.endpoints.get(target.id)
    }

    /// Takes a kept answer where the routes want it, and keeps a new one. Of several at once that ask
    /// the same, one asks the target, and the others take its answer.
    async fn ask_or_find(&mut self, target: &Target, spare: bool) -> Outcome {
        let Some(age) = target.cache else { return self.ask_unless_open(target, spare).await };
        let answers = &self.inner.parts.answers;
        let key = Answers::key(target, &self.fitted(target));
        let _turn = answers.turn(key).await;
        if !self.request.refresh
            && let Some(reply) = answers.find(key, age, SystemTime::now()).await
        {
            return Outcome::Kept(Box::new(reply));
        }
        let outcome = self.ask_unless_open(target, spare).await;
        if let Outcome::Reply(reply) = &outcome {
            answers.keep(key, reply, SystemTime::now()).await;
        }
        outcome
    }

    async fn ask_unless_open(&mut self, target: &Target, spare: bool) -> Outcome {
        let Some(endpoint) = self.endpoint(target) else { return Outcome::Failed(unknown(target)) };
        let ticket = match endpoint.health.admit() {
            Ok(ticket) => ticket,
            Err(refusal) => {
                let open =
                    Failure::new(Class::BreakerOpen, format!("not asked after {}", refusal.cause));
                return Outcome::Failed(Failure { retry_after: refusal.retry_after, ..open });
            }
        };
        let outcome = self.ask(target, spare).await;
        match &outcome {
            Outcome::Failed(failure) | Outcome::Over(failure)
                if failure.class.is_fault_of_target() =>
            {
                ticket.record(Verdict::Fault(&failure.to_string()));
            }
            Outcome::Reply(_) | Outcome::Kept(_) | Outcome::Failed(_) => {
                ticket.record(Verdict::Fine)
            }
            Outcome::Over(_) => {}
        }
        outcome
    }

    /// Asks a target until it answers or is left.
    async fn ask(&mut self, target: &Target, spare: bool) -> Outcome {
        let Some(endpoint) = self.endpoint(target) else { return Outcome::Failed(unknown(target)) };
        let request = self.fitted(target);
        let limits = self.limits(target, &request, spare);
        let streaming = endpoint.streaming.admit().ok();
        let mut course = Course::new(streaming.is_none());
        let mut streaming = streaming;
        loop {
            let failure = match self.attempt(endpoint, &request, !course.whole, &limits).await {
                Ok(reply) => {
                    settle(streaming.take(), (!course.whole).then_some(Verdict::Fine));
                    return Outcome::Reply(Box::new(reply));
                }
                Err(failure) => failure,
            };
            self.shown.reset();
            let was_whole = course.whole;
            let pauses = self.pauses();
            let roll = (self.inner.roll)();
            let Next::Again(wait) = course.after(&failure, &target.retry, &pauses, spare, roll)
            else {
                return Outcome::Failed(failure);
            };
            if course.whole && !was_whole {
                settle(streaming.take(), Some(Verdict::Fault(&failure.to_string())));
            }
            if self.is_over(wait) {
                return Outcome::Over(failure);
            }
            self.tell_again(&failure, target, wait, course.whole && !was_whole);
            tokio::time::sleep(wait).await;
        }
    }

    fn tell_again(&mut self, failure: &Failure, target: &Target, wait: Duration, degraded: bool) {
        if !degraded {
            self.tell(Now::Retry(wait), failure, &target.name);
        } else if !std::mem::replace(&mut self.told_degraded, true) {
            self.tell(Now::Degraded, failure, &target.name);
        }
    }

    async fn attempt(
        &mut self,
        endpoint: &Endpoint,
        request: &Request,
        stream: bool,
        limits: &Limits,
    ) -> Result<Reply, Failure> {
        self.attempts += 1;
        let left = self.inner.parts.settings.total.saturating_sub(self.begun.elapsed());
        let limits = Limits { total: limits.total.min(left), ..*limits };
        let http = &self.inner.http;
        let reply =
            http::attempt(http, endpoint, request, stream, &limits, &mut self.shown).await?;
        guardrail::judge(&self.inner.parts.guardrails, &endpoint.target, &reply).await?;
        Ok(reply)
    }

    /// The request as this target gets it.
    fn fitted(&self, target: &Target) -> Request {
        let mut request = self.request.clone();
        request.params = request.params.under(&target.params);
        let request = wire::fitted(request);
        match target.kind {
            Kind::OpenAi => request,
            _ => cache::marked(&request, &self.inner.parts.settings.prompt_cache),
        }
    }

    fn limits(&self, target: &Target, request: &Request, spare: bool) -> Limits {
        let tokens = request.messages.iter().flat_map(|message| &message.content);
        let tokens = tokens.map(|block| match block {
            Block::Text { text, .. } => budget::tokens(text),
            _ => 0,
        });
        let model = request.params.model.as_deref().unwrap_or_default();
        let hides_thoughts = target.kind.hides_thoughts(model);
        let about = About { tokens: tokens.sum(), spare, hides_thoughts };
        self.inner.parts.settings.limits(&target.timeouts, about)
    }

    fn pauses(&self) -> Pauses {
        let settings = &self.inner.parts.settings;
        Pauses { backoff: settings.backoff, patience: settings.patience }
    }

    /// Whether there is no room for another attempt after this pause.
    fn is_over(&self, wait: Duration) -> bool {
        let settings = &self.inner.parts.settings;
        self.attempts >= settings.attempts || self.begun.elapsed() + wait >= settings.total
    }
}

fn settle(ticket: Option<Ticket<'_>>, verdict: Option<Verdict<'_>>) {
    if let (Some(ticket), Some(verdict)) = (ticket, verdict) {
        ticket.record(verdict);
    }
}

fn unknown(target: &Target) -> Failure {
    Failure::new(Class::BadRequest, format!("`{}` was not set up", target.name))
}
