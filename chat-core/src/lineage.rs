//! Where a command stood before its branch of history lost, and so what its author can have known.

use serde::{Deserialize, Serialize};

use crate::message::Sequence;

/// What stood before a command on the branch of history that it comes from. Its author knew nothing else when he gave
/// it, so [`apply_reproposed`](crate::AccountManager::apply_reproposed) lets it touch nothing else.
///
/// Epochs are named by numbers of the embedder's, which must never give two epochs the same one. The default stands for a
/// command of which nothing is known: it touches only what it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Both branches have the same history up to and with the command at this place. All other places are behind it.
    pub fork: Sequence,
    /// The epochs of its branch behind the fork, each with its first place there, in order; its own is the last.
    pub epochs: Vec<(u128, Sequence)>,
    /// Where it stood on its branch.
    pub at: Sequence,
}

/// A place on a branch of history that lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stood {
    pub(crate) epoch: u128,
    pub(crate) at: Sequence,
}

/// Where a command stands whose effect commands from other branches may meet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Placed {
    /// On this branch.
    pub(crate) place: Sequence,
    /// On branches that lost.
    pub(crate) stood: Vec<Stood>,
}

impl Placed {
    /// Branches of which it is remembered where one command stood on them.
    const MOST: usize = 8;

    /// Remembers another branch on which the command stood, or another command of the same effect. Says whether that is
    /// news.
    pub(crate) fn note(&mut self, stood: Option<Stood>) -> bool {
        let news =
            stood.filter(|stood| self.stood.len() < Self::MOST && !self.stood.contains(stood));
        self.stood.extend(news);
        news.is_some()
    }
}

impl Lineage {
    /// Where the command stood.
    pub(crate) fn stood(&self) -> Option<Stood> {
        let (epoch, _) = self.epochs.last()?;
        Some(Stood {
            epoch: *epoch,
            at: self.at,
        })
    }

    /// Where something stands on the command's branch, if it stands there before the command.
    pub(crate) fn place_of(&self, what: &Placed) -> Option<Sequence> {
        if what.place <= self.fork {
            return Some(what.place);
        }
        what.stood.iter().find_map(|stood| {
            let which = self
                .epochs
                .iter()
                .position(|(epoch, _)| *epoch == stood.epoch)?;
            let (_, first) = self.epochs[which];
            let end = self
                .epochs
                .get(which + 1)
                .map_or(self.at, |(_, next)| *next);
            (first..end).contains(&stood.at).then_some(stood.at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_holds_what_stood_before_the_command_in_its_own_epochs() {
        let place = Sequence::new;
        let lineage = Lineage {
            fork: place(10),
            epochs: vec![(3, place(11)), (5, place(20))],
            at: place(25),
        };
        for (epoch, at, expected) in [
            (3, 10, false),
            (3, 11, true),
            (3, 19, true),
            // There it was cut off by the next epoch, and went on for others.
            (3, 20, false),
            (5, 19, false),
            (5, 20, true),
            (5, 24, true),
            (5, 25, false),
            (5, 26, false),
            (4, 15, false),
        ] {
            let stood = Stood {
                epoch,
                at: place(at),
            };
            let what = Placed {
                place: place(30),
                stood: vec![stood],
            };
            let found = lineage.place_of(&what);
            assert_eq!(found, expected.then_some(place(at)), "{stood:?}");
        }
        for (at, expected) in [(9, true), (10, true), (11, false)] {
            let what = Placed {
                place: place(at),
                stood: Vec::new(),
            };
            assert_eq!(lineage.place_of(&what).is_some(), expected);
        }
        assert_eq!(lineage.stood().map(|stood| stood.epoch), Some(5));
        assert_eq!(Lineage::default().stood(), None);
    }
}
