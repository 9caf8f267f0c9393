//! Floor 2: the model client. Asks models of several providers, and survives their failures.
//!
//! - [`message`] is the one form of a conversation; `anthropic` and `openai` are the wires that
//!   translate it, `sse` takes their streams apart, `draft` puts an answer together.
//! - [`route`] says who is asked, and who after a failure; [`error`] which failures there are.
//! - [`provider`] is what an agent sees of all this.
//!
//! The only door to `reqwest` and to providers. Knows nothing of tools beyond their description, and
//! runs none.

mod anthropic;
mod draft;
pub mod error;
pub mod message;
mod openai;
pub mod provider;
pub mod route;
mod sse;
