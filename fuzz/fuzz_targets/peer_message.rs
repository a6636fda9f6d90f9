//! What a peer says, to a replica that hears it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chat_replication::fuzzing::peer_message(bytes));
