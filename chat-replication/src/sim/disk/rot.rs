//! Rot of a byte of a log's files, while no process has them open.

use rand::RngExt;

use super::{Disk, everything, open};
use crate::types::Position;

/// What comes of a byte that rotted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sim) enum Rotted {
    /// These entries cannot be read any more, or none: all else is as it was.
    Entries(Vec<Position>),
    /// The log is refused.
    Log(String),
}

impl Disk {
    /// A byte rots at any place of any file, unless more would come of it than `may` be. Nothing rots where a write is
    /// undecided or the power was lost since the last opening: nobody could tell rot of the last write from one that was not
    /// flushed.
    ///
    /// # Panics
    ///
    /// Where the log tells of less than it held, and does not say so.
    pub(in crate::sim) fn rot_byte(&self, may: impl FnOnce(&Rotted) -> bool) -> Option<Rotted> {
        let content = &mut *self.content();
        let files = content.files.as_ref()?.copy();
        if content.undecided.is_some() || content.lost_power || content.rotten {
            return None;
        }
        let disks = files.files();
        let file = content.random.random_range(0..disks.len());
        let place: f64 = content.random.random_range(0.0..1.0);
        let flip = content.random.random_range(1..=u8::MAX);
        disks.values().nth(file)?.rot(|bytes| {
            let place = (bytes.len() as f64 * place) as usize;
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= flip;
            }
        });
        let mut known = content.known.clone();
        let before = everything(&mut known);
        // An opening repairs what it can, so it is done with a copy.
        let rotted = match open(&files.copy(), known.identity()) {
            Err(error) => Rotted::Log(error.to_string()),
            Ok(mut store) => {
                let found = everything(&mut store);
                for damaged in &found.0.damaged {
                    known.damage(damaged.clone());
                }
                assert_eq!(
                    found,
                    everything(&mut known),
                    "the log tells what it held, or that it does not"
                );
                let was_whole = before.1.iter().map(|entry| entry.position);
                let is_damaged = |position: &Position| {
                    let mut damaged = found.0.damaged.iter();
                    damaged.any(|damaged| damaged.contains(&position.index))
                };
                Rotted::Entries(was_whole.filter(is_damaged).collect())
            }
        };
        if !may(&rotted) {
            return None;
        }
        content.files = Some(files);
        content.known = known;
        content.rotten = matches!(rotted, Rotted::Log(_));
        Some(rotted)
    }
}
