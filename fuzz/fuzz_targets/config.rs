//! A cluster file.
#![no_main]

use std::path::Path;

use chat_server::config::ClusterConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = ClusterConfig::parse(text, Path::new("/c/cluster.toml")) {
        assert!(!error.to_string().is_empty());
    }
});
