//! Standard output for data, standard error for everything else.

use std::io::{self, Write};

use super::failure::Failure;
use super::json;
use super::settings::Format;
use super::text::harmless_lines;

/// Writes a line of data.
pub(super) fn data(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").map_err(closed)
}

/// Writes data that is no text of ours.
pub(super) fn bytes(data: &[u8]) -> Result<(), Failure> {
    io::stdout().lock().write_all(data).map_err(closed)
}

/// Makes sure that everything has left, before it counts as shown.
pub(super) fn flush() -> Result<(), Failure> {
    io::stdout().flush().map_err(closed)
}

/// Tells the user something that is no data.
pub(super) fn note(line: &str) {
    // Nobody is left to hear that nobody hears.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Tells why a command failed, and what to do next.
pub(super) fn complain(failure: &Failure, format: Format) {
    if let Failure::OutputClosed = failure {
        return;
    }
    if format == Format::Json {
        let record = serde_json::json!({
            "type": "error",
            "message": failure.to_string(),
            "advice": failure.advice(),
            "code": failure.exit_code(),
        });
        return note(&json::line(&record));
    }
    // The service's words may repeat names and texts of others.
    note(&format!("error: {}", harmless_lines(&failure.to_string())));
    if let Some(advice) = failure.advice() {
        note(&format!("  next: {advice}"));
    }
}

pub(super) fn closed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(error),
    }
}
