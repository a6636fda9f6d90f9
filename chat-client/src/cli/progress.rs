//! How far something has come that takes long: on standard error, and only where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar for so many of something. It shows nothing where nobody would see it.
pub(super) fn bar(of: u64, what: &'static str) -> ProgressBar {
    // Drawn at most ten times in a second, and hidden where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr_with_hz(10));
    let template = format!("[{{bar:40}}] {{pos}} of {{len}} {what}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style.progress_chars("## "));
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
