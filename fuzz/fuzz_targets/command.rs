//! A command of the log.
#![no_main]

use chat_core::Command;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(command) = Command::decode(bytes) {
        let again = Command::decode(&command.encode()).expect("what is written is read");
        assert_eq!(again.encode(), command.encode());
    }
});
