//! Tokens that clients keep: of sessions, of pages, of what they have seen.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chat_server::fuzzing::tokens(bytes));
