//! A row of the log, whose checksum fits.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| chat_replication::fuzzing::log_entry(bytes));
