//! Standard output for data, standard error for everything else.

use std::io::{self, Write};

use super::failure::Failure;
use super::text::harmless_lines;

/// Writes a line of data.
pub(super) fn data(line: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").map_err(closed)
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
pub(super) fn complain(failure: &Failure) {
    if let Failure::OutputClosed = failure {
        return;
    }
    // The service's words may repeat names and texts of others.
    note(&format!("error: {}", harmless_lines(&failure.to_string())));
    if let Some(advice) = failure.advice() {
        note(&format!("  next: {advice}"));
    }
}

fn closed(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Output(error),
    }
}
