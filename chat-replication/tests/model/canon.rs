//! What two states have in common although their clocks differ.
//!
//! A replica counts ticks from its start, so no two of its states would ever be the same. What it does next depends on
//! how far its timers are away, not on where its clock stands. So states are compared by what they print of themselves,
//! with the times of it replaced: a timer that runs by the ticks that are left, an age that counts by what is left of it,
//! and times that are compared with nothing but the endless timeouts of this model by nothing at all.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hasher};

/// Below this a replica's ticks tell its lives apart, above it its ticks.
pub(crate) const LIFE: u32 = 39;

/// What a replica's clock shows, and which ages still count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) now: u64,
    pub(crate) rejoin: u64,
    pub(crate) hand_back: u64,
}

/// A digest of a value that is the same for the same situation at another time.
pub(crate) fn digest(value: &impl Debug, clock: Clock) -> u64 {
    let mut sink = Sink {
        hasher: DefaultHasher::new(),
        clock,
        name: Name::default(),
        treatment: Treatment::Keep,
        depth: 0,
    };
    write!(sink, "{value:?}").expect("a hasher takes everything");
    sink.hasher.finish()
}

/// What becomes of the value of a field.
#[derive(Clone, Copy, PartialEq)]
enum Treatment {
    Keep,
    /// The whole value is left out: it never changes, or nothing depends on it.
    Omit,
    /// The number is left out, though not whether there is one.
    Number,
    /// Ticks until then.
    Until,
    /// Ticks since then, up to a limit.
    Since(u64),
    /// Whether it was in this tick.
    Now,
    /// Which life of its process a number names.
    Life,
}

fn treatment(name: &[u8], clock: Clock) -> Treatment {
    match name {
        b"identity" | b"seeds" | b"settings" | b"broken" | b"waiting" | b"suspicion_noted" => {
            Treatment::Omit
        }
        b"now" | b"random" | b"life" | b"leaderless_since" | b"heard_at" | b"echoed_at"
        | b"probed_at" | b"moved_at" | b"since" | b"balloted" | b"stalled" | b"round" => {
            Treatment::Number
        }
        b"next_ballot" | b"ask_again" | b"next_heartbeat" | b"next_orphans" | b"repeat_at"
        | b"next_hand_over" | b"until" => Treatment::Until,
        b"established_at" => Treatment::Since(clock.hand_back),
        b"caught_up_since" => Treatment::Since(clock.rejoin),
        b"rewound_at" => Treatment::Now,
        b"sent" | b"echo" => Treatment::Life,
        _ => Treatment::Keep,
    }
}

/// The piece before the present one: a field's name, if a colon follows.
#[derive(Default)]
struct Name {
    bytes: [u8; 24],
    length: usize,
}

struct Sink {
    hasher: DefaultHasher,
    clock: Clock,
    name: Name,
    treatment: Treatment,
    /// Brackets that are open in a value that is left out.
    depth: i32,
}

impl Sink {
    fn number(&self, number: u64) -> u64 {
        let Clock { now, .. } = self.clock;
        match self.treatment {
            Treatment::Keep | Treatment::Omit => number,
            Treatment::Number => 0,
            Treatment::Until => number.saturating_sub(now),
            Treatment::Since(limit) => now.saturating_sub(number).min(limit),
            Treatment::Now => u64::from(number == now),
            Treatment::Life => number >> LIFE,
        }
    }
}

impl Write for Sink {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        if self.treatment == Treatment::Omit {
            let ends = self.depth == 0 && matches!(piece, ", " | " }");
            if !ends {
                for byte in piece.bytes() {
                    self.depth += match byte {
                        b'{' | b'(' | b'[' => 1,
                        b'}' | b')' | b']' => -1,
                        _ => 0,
                    };
                }
                return Ok(());
            }
            self.treatment = Treatment::Keep;
        }
        if piece == ": " {
            self.treatment = treatment(&self.name.bytes[..self.name.length], self.clock);
            return Ok(());
        }
        if self.treatment != Treatment::Keep {
            if let Ok(number) = piece.parse::<u64>() {
                self.hasher.write_u64(self.number(number));
                self.treatment = Treatment::Keep;
                return Ok(());
            }
            if piece == "None" {
                self.treatment = Treatment::Keep;
            }
        }
        let length = piece.len().min(24);
        self.name.bytes[..length].copy_from_slice(&piece.as_bytes()[..length]);
        self.name.length = length;
        self.hasher.write(piece.as_bytes());
        self.hasher.write_u8(0);
        Ok(())
    }
}
