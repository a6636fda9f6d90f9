//! Progress of what takes long, on standard error if that is a terminal.

use std::fs;
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes.
pub(super) fn of_bytes(total: u64) -> ProgressBar {
    bar(
        total,
        "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {eta}",
    )
}

/// A bar over rows, whose number is known once there is an answer.
pub(super) fn of_rows() -> ProgressBar {
    bar(0, "{bar:30} {human_pos} of {human_len} rows, {msg}, {eta}")
}

/// The length of a file; 0 where there is none, which whoever opens it will say.
pub(super) fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn bar(total: u64, template: &str) -> ProgressBar {
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(total).with_style(style)
}
