//! What the applications of two replicas say to each other.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chat_server::fuzzing::words(bytes));
