//! What is known of one peer.

use std::collections::HashSet;
use std::time::Instant;

use chat_core::AccountId;

use super::word::{Run, Word};

/// A peer's subscribers, as far as it has told.
#[derive(Debug)]
pub(super) struct PeerPresence {
    run: Run,
    /// The last change that is counted in.
    number: u64,
    /// Only asked for members, so that its order never shows.
    pub(super) accounts: HashSet<AccountId>,
    pub(super) heard: Instant,
    /// Parts of everything, so far.
    gathered: Option<Gathered>,
}

#[derive(Debug)]
struct Gathered {
    number: u64,
    next_part: u32,
    accounts: HashSet<AccountId>,
}

/// Whether a peer's word left something open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Knowledge {
    Complete,
    /// Something was missed: ask for everything.
    Missing,
}

impl PeerPresence {
    pub(super) fn unheard(now: Instant) -> PeerPresence {
        PeerPresence {
            run: Run::default(),
            number: 0,
            accounts: HashSet::new(),
            heard: now,
            gathered: None,
        }
    }

    /// Counts a word of the peer in.
    pub(super) fn hear(&mut self, word: Word, now: Instant) -> Knowledge {
        self.heard = now;
        match word {
            Word::Ask => Knowledge::Complete,
            Word::Alive { run, number } => self.compare(run, number),
            Word::Change {
                run,
                number,
                came,
                went,
            } => {
                if run != self.run || number != self.number + 1 {
                    return self.compare(run, number);
                }
                self.accounts.extend(came);
                for account in went {
                    self.accounts.remove(&account);
                }
                self.number = number;
                Knowledge::Complete
            }
            Word::All {
                run,
                number,
                part,
                parts,
                online,
            } => self.gather((run, number), (part, parts), online),
        }
    }

    fn compare(&self, run: Run, number: u64) -> Knowledge {
        let is_known = run == self.run && number <= self.number;
        // The rest of the whole is on its way.
        let is_coming = self
            .gathered
            .as_ref()
            .is_some_and(|gathered| gathered.number >= number);
        match is_known || is_coming {
            true => Knowledge::Complete,
            false => Knowledge::Missing,
        }
    }

    fn gather(
        &mut self,
        (run, number): (Run, u64),
        (part, parts): (u32, u32),
        online: Vec<AccountId>,
    ) -> Knowledge {
        if part == 0 {
            self.gathered = Some(Gathered {
                number,
                next_part: 0,
                accounts: HashSet::new(),
            });
        }
        let Some(gathered) = &mut self.gathered else {
            return Knowledge::Missing;
        };
        if gathered.number != number || gathered.next_part != part {
            self.gathered = None;
            return Knowledge::Missing;
        }
        gathered.accounts.extend(online);
        gathered.next_part += 1;
        if gathered.next_part >= parts {
            self.accounts = std::mem::take(&mut gathered.accounts);
            self.run = run;
            self.number = number;
            self.gathered = None;
        }
        Knowledge::Complete
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn account(number: u128) -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(number))
    }

    fn change(run: u64, number: u64, came: u128, went: u128) -> Word {
        Word::Change {
            run: Run(run),
            number,
            came: vec![account(came)],
            went: vec![account(went)],
        }
    }

    fn all(run: u64, number: u64, part: u32, parts: u32, online: u128) -> Word {
        Word::All {
            run: Run(run),
            number,
            part,
            parts,
            online: vec![account(online)],
        }
    }

    #[test]
    fn a_gap_is_noticed_and_mended_by_the_whole() {
        let now = Instant::now();
        let mut peer = PeerPresence::unheard(now);
        assert_eq!(peer.hear(change(7, 1, 1, 9), now), Knowledge::Missing);
        assert_eq!(peer.hear(all(7, 1, 0, 2, 1), now), Knowledge::Complete);
        assert!(peer.accounts.is_empty());
        assert_eq!(peer.hear(all(7, 1, 1, 2, 2), now), Knowledge::Complete);
        assert_eq!(peer.accounts, HashSet::from([account(1), account(2)]));
        assert_eq!(peer.hear(change(7, 2, 3, 1), now), Knowledge::Complete);
        assert_eq!(peer.accounts, HashSet::from([account(2), account(3)]));
        assert_eq!(peer.hear(change(7, 4, 5, 2), now), Knowledge::Missing);
        assert_eq!(
            peer.hear(
                Word::Alive {
                    run: Run(7),
                    number: 2
                },
                now
            ),
            Knowledge::Complete
        );
        assert_eq!(
            peer.hear(
                Word::Alive {
                    run: Run(7),
                    number: 4
                },
                now
            ),
            Knowledge::Missing
        );
    }

    #[test]
    fn a_restarted_peer_begins_anew() {
        let now = Instant::now();
        let mut peer = PeerPresence::unheard(now);
        peer.hear(all(7, 3, 0, 1, 1), now);
        assert_eq!(
            peer.hear(
                Word::Alive {
                    run: Run(8),
                    number: 0
                },
                now
            ),
            Knowledge::Missing
        );
        peer.hear(all(8, 0, 0, 1, 2), now);
        assert_eq!(peer.accounts, HashSet::from([account(2)]));
    }

    #[test]
    fn a_part_that_was_lost_spoils_the_whole() {
        let now = Instant::now();
        let mut peer = PeerPresence::unheard(now);
        assert_eq!(peer.hear(all(7, 1, 0, 3, 1), now), Knowledge::Complete);
        assert_eq!(peer.hear(all(7, 1, 2, 3, 3), now), Knowledge::Missing);
        assert!(peer.accounts.is_empty());
        assert_eq!(peer.hear(all(7, 1, 1, 3, 2), now), Knowledge::Missing);
    }
}
