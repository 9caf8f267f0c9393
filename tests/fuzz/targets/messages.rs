//! Bedrock's event stream, wherever its bytes are cut.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| husk::llm::fuzzed::messages(bytes));
