//! An operator's word that the next view starts with whoever is there.
//!
//! It holds until a view has started, here or under somebody else's lead, or until it has taken too long: an order that was
//! given up must not let a view start without the others at some later time.

use thiserror::Error;

use super::Replica;
use super::judge::Waiting;

/// For how many silences the order holds: those who are gone are suspected by then, and a candidate may fail and try again.
const SILENCES: u64 = 10;

/// Why no view is forced.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Error)]
pub enum ForceRefusal {
    /// It has a leader, which may be itself, and waits for nobody.
    #[error("it has a leader and waits for nobody, so that there is nothing to force")]
    Led,
    /// What it waits for is nobody's answer, and no order can take its place.
    #[error("{0}")]
    Waits(Waiting),
    /// No view came of it in time. Says what it waits for.
    #[error("no view came of it in time, and the order is taken back; {0}")]
    Late(String),
}

impl Replica {
    /// An operator's word: the next view starts with whoever is there, whatever the rules wait for, and says so. What became
    /// of it is in a later [`Ready`](super::Ready).
    ///
    /// # Errors
    ///
    /// No view could come of it. Nothing is forced then.
    pub fn force_view(&mut self) -> Result<(), ForceRefusal> {
        if self.is_stuck_by_damage() {
            // Others had dropped it, and took along what their states showed of it.
            self.forgo_snapshot();
        }
        if let Some(refusal) = self.cannot_force() {
            if self.kept_out_at().is_none() || self.needs_version().is_some() {
                return Err(refusal);
            }
            // There is a view already, which it comes back to once it has what the others have.
            self.give_up_damaged();
            self.ready.forced = Some(Ok(()));
            return Ok(());
        }
        self.force = Some(self.now + SILENCES * self.settings.suspect);
        self.give_up_damaged();
        self.consider_ballot();
        Ok(())
    }

    fn cannot_force(&self) -> Option<ForceRefusal> {
        if let Some(needed) = self.needs_version() {
            let known = self.apply_version;
            return Some(ForceRefusal::Waits(Waiting::Upgrade { needed, known }));
        }
        if self.wants_snapshot.is_some() {
            // There is nothing to go on with.
            return Some(ForceRefusal::Waits(self.waiting_for_state()));
        }
        let Some(configuration) = self.log.configuration() else {
            let waiting = self.waiting.clone();
            let seeds = || Waiting::Seeds(self.seeds.iter().map(|seed| seed.id).collect());
            return Some(ForceRefusal::Waits(waiting.unwrap_or_else(seeds)));
        };
        let store = self.identity.store;
        if !configuration.votes(self.me(), store) {
            return Some(ForceRefusal::Waits(match configuration.member(self.me()) {
                _ if configuration.has_removed(store) => Waiting::Removed,
                Some(_) => Waiting::NoVote,
                None => Waiting::NoMember,
            }));
        }
        let is_led = self.leader().is_some() && self.waiting_for().is_empty();
        is_led.then_some(ForceRefusal::Led)
    }

    /// A view has started.
    pub(super) fn settle_force(&mut self) {
        if self.force.take().is_some() {
            self.ready.forced = Some(Ok(()));
        }
    }

    pub(super) fn tick_force(&mut self) {
        if self.force.is_some_and(|until| self.now > until) {
            self.force = None;
            let waiting = match &self.waiting {
                Some(waiting) => waiting.to_string(),
                None => "see its log".to_owned(),
            };
            self.ready.forced = Some(Err(ForceRefusal::Late(waiting)));
        }
    }
}
