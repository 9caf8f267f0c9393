//! Server-sent events, wherever their bytes are cut.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| husk::llm::fuzzed::events(bytes));
