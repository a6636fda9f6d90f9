//! `chat-server log` and `chat-server verify`.

use std::io::{BufWriter, Write, stdout};
use std::ops::ControlFlow;
use std::path::Path;

use super::output::say;
use super::{Problem, progress};
use crate::store::inspect::{Bodies, LogRange, Replay, show_log, verify_backup};

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

pub(super) fn verify(path: &Path, replay: bool) -> Result<(), Problem> {
    if path.is_file() {
        if replay {
            return Err(
                "a backup has no log that could be replayed; leave out --replay".to_owned(),
            );
        }
        let bar = progress::of_bytes(progress::len(path));
        let verified = verify_backup(path, say, |read| bar.set_position(read));
        bar.finish_and_clear();
        return verified.map_err(|error| error.to_string());
    }
    let replay = match replay {
        true => Replay::Yes,
        false => Replay::No,
    };
    crate::store::inspect::verify(path, replay, say).map_err(|error| error.to_string())
}
