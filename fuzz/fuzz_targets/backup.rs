//! The file of a backup.
#![no_main]

use std::path::Path;

use chat_server::store::backup::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut reader) = Reader::over(bytes, Path::new("backup")) else {
        return;
    };
    while let Ok(Some(_)) = reader.next_piece() {}
});
