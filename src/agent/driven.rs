//! A run as a stream: it goes on only while somebody asks for the next event, and dropping the stream
//! ends it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::event::Event;

/// Work, and the events that it sends on its way.
pub(super) struct Driven<'a> {
    /// Gone when it is done.
    work: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>,
    /// Unbounded, and yet never long: the work stands still until these are taken.
    events: UnboundedReceiver<Event>,
}

impl<'a> Driven<'a> {
    pub(super) fn new<F>(work: impl FnOnce(UnboundedSender<Event>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'a,
    {
        let (sender, events) = unbounded_channel();
        Self { work: Some(Box::pin(work(sender))), events }
    }
}

impl Stream for Driven<'_> {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let this = &mut *self;
        if let Ok(event) = this.events.try_recv() {
            return Poll::Ready(Some(event));
        }
        if let Some(work) = &mut this.work
            && work.as_mut().poll(context).is_ready()
        {
            this.work = None;
        }
        // The channel is asked with the context: progress of calls comes from outside of the work.
        match this.events.poll_recv(context) {
            Poll::Ready(Some(event)) => Poll::Ready(Some(event)),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if this.work.is_none() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
