//! Rows of the state: each kind, and a state made of them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    chat_core::fuzzing::row(bytes);
    chat_core::fuzzing::state(bytes);
});
