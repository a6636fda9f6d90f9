//! Pieces of a snapshot.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|pieces: Vec<Vec<u8>>| chat_server::fuzzing::snapshot(&pieces));
