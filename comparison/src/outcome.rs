//! What everything here comes to, and where it is written.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

/// The result of a step. It is a measurement: what fails ends it, in words.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Prints a value as one JSON line, and appends it to a file where one is given.
pub(crate) fn write_line(value: &impl Serialize, file: Option<&Path>) -> Outcome {
    let line = serde_json::to_string(value)?;
    say(&line);
    if let Some(file) = file {
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(file, "{line}")?;
    }
    Ok(())
}

/// Prints a line for whoever called.
#[allow(clippy::print_stdout, reason = "it is what the program is for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints a line for whoever watches.
#[allow(clippy::print_stderr, reason = "standard output is for figures alone")]
pub(crate) fn complain(line: &str) {
    eprintln!("{line}");
}
