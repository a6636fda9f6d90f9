//! The log, on standard error.

use std::io::{IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};

use tracing::{debug, error};
use tracing_subscriber::EnvFilter;

/// What is logged; such as `info`, or `debug,h2=warn`.
const VARIABLE: &str = "CHAT_LOG";

/// Logs from here on, panics included.
pub(super) fn start() {
    let filter = EnvFilter::builder().with_env_var(VARIABLE).try_from_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .with_target(false);
    // Fails where an embedder logs already, which is as good.
    let _ = subscriber.try_init();
    panic::set_hook(Box::new(log_panic));
}

/// One line, whoever caught it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let what = panic.payload_as_str().unwrap_or("no reason given");
    let location = panic.location();
    let file = location.map_or("", |location| location.file());
    let line = location.map_or(0, |location| location.line());
    // The storage engine gives up on damaged files in this way. That is caught, and told as what it is.
    if file.contains("/redb-") {
        debug!("the storage engine gave up at {file}:{line}: {what}");
    } else {
        error!("a defect at {file}:{line}: {what}; please report this");
    }
}
