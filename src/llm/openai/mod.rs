//! OpenAI's Chat Completions as a wire, as OpenAI and the many compatible servers speak it (vLLM,
//! llama.cpp, Ollama, LiteLLM). `ask` writes requests, `answer` reads what comes back.
//!
//! Pure. Prompt-cache marks and thoughts have no place in this form: they are left out.

mod answer;
mod ask;

pub(super) use answer::{failure, read};
pub(super) use ask::body;
