//! Whatever a provider sends is an answer or a failure, on every wire.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| husk::llm::fuzzed::answers(bytes));
