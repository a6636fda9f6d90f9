//! `chat-server log` and `chat-server verify`.

use std::io::{BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;

use super::Problem;
use super::output::say;
use crate::inspect::{Bodies, LogRange, Replay, show_log};

pub(super) fn log(folder: &Path, range: LogRange, bodies: bool) -> Result<(), Problem> {
    let bodies = match bodies {
        true => Bodies::Shown,
        false => Bodies::Hidden,
    };
    let mut out = BufWriter::new(stdout().lock());
    let shown = show_log(folder, range, bodies, |line| {
        match writeln!(out, "{line}") {
            Ok(()) => ControlFlow::Continue(()),
            // Nobody listens any more, as behind `head`.
            Err(_) => ControlFlow::Break(()),
        }
    });
    let _ = out.flush();
    shown.map_err(|error| error.to_string())
}

pub(super) fn verify(folder: &Path, replay: bool) -> Result<(), Problem> {
    let replay = match replay {
        true => Replay::Yes,
        false => Replay::No,
    };
    crate::inspect::verify(folder, replay, say).map_err(|error| error.to_string())
}
