//! Words for the person at the terminal.

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Says a line.
pub(super) fn say(line: impl Display) {
    // Nobody may be listening, which is no reason to stop.
    let _ = writeln!(stdout(), "{line}");
    let _ = stdout().flush();
}

/// Says what went wrong.
pub(super) fn complain(problem: impl Display) {
    let _ = writeln!(stderr(), "chat-server: {problem}");
}

/// Passes on a line of a child's log.
pub(super) fn pass_on(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
