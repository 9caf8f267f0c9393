//! The server over HTTP, from outside: who is let in, what each can reach, and what none can break.

mod admin;
mod checks;
mod clients;
mod conformance;
mod crowd;
mod ends;
#[cfg(feature = "otel")]
mod exported;
mod hostile;
mod oauth;
mod secrets;
mod tenants;
mod view;
mod watched;
mod ways;
