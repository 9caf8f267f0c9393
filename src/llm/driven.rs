//! A stream of events that is worked on only while somebody asks for the next one: nothing runs
//! beside it, and dropping it ends the work.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    error::LlmError,
    provider::{Answer, Event},
};

type Work = Pin<Box<dyn Future<Output = Result<Answer, LlmError>> + Send>>;

/// Work, and the events that it sends on its way.
pub(super) struct Driven {
    /// Gone when it is done.
    work: Option<Work>,
    /// Unbounded, and yet never long: the work stands still until these are taken.
    events: UnboundedReceiver<Event>,
    last: Option<Result<Event, LlmError>>,
}

impl Driven {
    pub(super) fn new<F>(work: impl FnOnce(UnboundedSender<Event>) -> F) -> Self
    where
        F: Future<Output = Result<Answer, LlmError>> + Send + 'static,
    {
        let (sender, events) = unbounded_channel();
        Self { work: Some(Box::pin(work(sender))), events, last: None }
    }
}

impl Stream for Driven {
    type Item = Result<Event, LlmError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Ok(event) = this.events.try_recv() {
            return Poll::Ready(Some(Ok(event)));
        }
        if let Some(work) = &mut this.work
            && let Poll::Ready(end) = work.as_mut().poll(context)
        {
            this.work = None;
            this.last = Some(end.map(|answer| Event::Done(Box::new(answer))));
        }
        if let Ok(event) = this.events.try_recv() {
            return Poll::Ready(Some(Ok(event)));
        }
        match (this.last.take(), &this.work) {
            (Some(last), _) => Poll::Ready(Some(last)),
            (None, None) => Poll::Ready(None),
            (None, Some(_)) => Poll::Pending,
        }
    }
}
