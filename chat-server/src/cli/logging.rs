//! The log, on standard error.

use std::io::{IsTerminal, stderr};
use std::panic::{self, PanicHookInfo};

use tracing::{debug, error};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, Logging};

/// What is logged, whatever the configuration says; such as `info`, or `debug,h2=warn`.
const VARIABLES: [&str; 2] = ["CHAT_LOG", "RUST_LOG"];

/// Changes what is logged.
pub(super) struct LogLevel(reload::Handle<EnvFilter, Registry>);

impl LogLevel {
    pub(super) fn set(&self, logging: &Logging) {
        // Fails where an embedder logs otherwise, which is as good.
        let _ = self.0.reload(filter(logging));
    }
}

/// Logs from here on, panics included.
pub(super) fn start(logging: &Logging) -> LogLevel {
    let (filter, level) = reload::Layer::new(filter(logging));
    let lines = match logging.format {
        LogFormat::Pretty => fmt::layer()
            .with_writer(stderr)
            .with_ansi(stderr().is_terminal())
            .with_target(false)
            .boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(stderr)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    // Fails where an embedder logs already, which is as good.
    let _ = subscriber.try_init();
    panic::set_hook(Box::new(log_panic));
    LogLevel(level)
}

fn filter(logging: &Logging) -> EnvFilter {
    let in_environment = VARIABLES
        .iter()
        .find_map(|name| std::env::var(name).ok()?.parse().ok());
    in_environment.unwrap_or_else(|| EnvFilter::new(&logging.level))
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
