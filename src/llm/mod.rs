//! Floor 2: the model client. Asks models of several providers, and survives their failures.
//!
//! - [`message`], [`request`] and [`reply`] are the one form of a conversation; `anthropic`, `openai`
//!   and `bedrock` are the providers' forms of it, `wire` chooses among them, `sse` and
//!   `bedrock::frames` take streams apart, and `draft` puts an answer together.
//! - [`route`] says who is asked, and who after a failure; `stream` what is done at one target after
//!   one; [`error`] which failures there are. All of these are pure.
//! - [`client`] carries it out, with `http` for one attempt and `endpoint` for what is known of a
//!   target; [`keys`] finds the keys; [`guardrail`] has answers judged before they are used.
//! - [`cache`] keeps the beginning of prompts in the providers' caches, [`answers`] keeps whole answers
//!   here; [`price`] knows what an answer costs.
//! - [`provider`] is what an agent sees of all this.
//!
//! The only door to `reqwest` and to providers. Knows nothing of tools beyond their description, and
//! runs none.

pub mod answers;
mod anthropic;
mod bedrock;
pub mod cache;
pub mod client;
mod draft;
mod driven;
mod endpoint;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
pub mod guardrail;
mod http;
pub mod keys;
pub mod message;
mod openai;
pub mod price;
pub mod provider;
pub mod reply;
pub mod request;
mod retry_after;
pub mod route;
mod settings;
mod sse;
mod stream;
mod wire;

pub use client::Client;
pub use http::client as http_client;
pub use settings::Settings;
