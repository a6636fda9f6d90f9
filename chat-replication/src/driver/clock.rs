//! Passing time as ticks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Turns the time of a monotonic clock into ticks.
///
/// A process that was not scheduled for a moment catches up. One that was away for long does not: it would take its peers
/// for dead before it has read what they said meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    tick: Duration,
    next: Duration,
    /// More ticks than this at once are a jump.
    jump: u64,
}

/// What a moment of a [`Clock`] calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    /// So many ticks, maybe none.
    Ticks(u64),
    /// Time has passed unseen.
    Jump,
}

impl Clock {
    /// A clock that starts now. `suspect` is the silence, in ticks, after which peers suspect each other.
    pub(crate) fn new(tick: Duration, suspect: u64, now: Duration) -> Clock {
        Clock {
            tick,
            next: now + tick,
            jump: (suspect / 2).max(1),
        }
    }

    /// When the next tick is due.
    pub(crate) fn next(&self) -> Duration {
        self.next
    }

    /// What is due now. `excused` is time since the last call that the replica knows it has spent on its disk.
    pub(crate) fn due(&mut self, now: Duration, excused: Duration) -> Due {
        let Some(late) = now.checked_sub(self.next) else {
            return Due::Ticks(0);
        };
        let ticks = |time: Duration| {
            u64::try_from(time.as_nanos() / self.tick.as_nanos().max(1)).unwrap_or(u64::MAX)
        };
        if ticks(late.saturating_sub(excused)) > self.jump {
            self.next = now + self.tick;
            return Due::Jump;
        }
        let due = ticks(late).saturating_add(1);
        let most = (self.jump / 2).max(1);
        if due > most {
            // Time lost on the disk: a slow clock harms nobody, while a burst of ticks would look like silence.
            self.next = now + self.tick;
            return Due::Ticks(most);
        }
        self.next += self.tick * u32::try_from(due).unwrap_or(u32::MAX);
        Due::Ticks(due)
    }
}

/// When a replica last looked at its peers, for those who ask from other threads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Awake {
    begun: Instant,
    /// Milliseconds since.
    last: Arc<AtomicU64>,
    suspect: Duration,
}

impl Awake {
    pub(crate) fn new(begun: Instant, tick: Duration, suspect: u64) -> Awake {
        Awake {
            begun,
            last: Arc::default(),
            suspect: tick.saturating_mul(u32::try_from(suspect).unwrap_or(u32::MAX)),
        }
    }

    /// It has looked, and its status says what it saw.
    pub(crate) fn note(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Release);
    }

    /// Whether that was less than a silence ago after which its peers go on without it.
    pub(crate) fn is_awake(&self) -> bool {
        let last = Duration::from_millis(self.last.load(Ordering::Acquire));
        self.begun.elapsed().saturating_sub(last) < self.suspect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// The threads that answer may run before the one that notices the pause.
    #[test]
    fn one_that_was_paused_is_not_awake_until_it_has_looked() {
        let long_ago = Instant::now() - ms(10_000);
        let awake = Awake::new(long_ago, ms(10), 100);
        assert!(!awake.is_awake());
        awake.note(long_ago.elapsed() - ms(900));
        assert!(awake.is_awake());
        awake.note(long_ago.elapsed() - ms(1001));
        assert!(!awake.is_awake());
    }

    #[test]
    fn ticks_are_caught_up_and_jumps_are_told() {
        let mut clock = Clock::new(ms(10), 100, ms(0));
        assert_eq!(clock.due(ms(9), ms(0)), Due::Ticks(0));
        assert_eq!(clock.due(ms(10), ms(0)), Due::Ticks(1));
        assert_eq!(clock.due(ms(19), ms(0)), Due::Ticks(0));
        assert_eq!(clock.due(ms(45), ms(0)), Due::Ticks(3));
        assert_eq!(clock.next(), ms(50));
        // Half a second unseen is a jump, as the peers may have moved on.
        assert_eq!(clock.due(ms(570), ms(0)), Due::Jump);
        assert_eq!(clock.next(), ms(580));
        // The same time on a slow disk is none, and is not caught up in one burst either.
        assert_eq!(clock.due(ms(1200), ms(600)), Due::Ticks(25));
        assert_eq!(clock.next(), ms(1210));
        assert_eq!(clock.due(ms(1210), ms(0)), Due::Ticks(1));
    }
}
