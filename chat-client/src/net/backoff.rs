//! How long to wait before everybody is asked again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(500);

/// Waits that double from about 10 ms to at most 500 ms. Each is drawn from the upper half of its range, so that clients
/// that lost the same replica at the same moment do not come back at the same moment.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    ceiling: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { ceiling: FIRST }
    }

    /// The next wait. `draw` is a random number in `0.0..1.0`.
    pub(crate) fn next(&mut self, draw: f64) -> Duration {
        let wait = self.ceiling.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0);
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_second_and_are_spread() {
        let (mut shortest, mut longest) = (Backoff::new(), Backoff::new());
        let ceilings = [10, 20, 40, 80, 160, 320, 500, 500];
        for ceiling in ceilings.map(Duration::from_millis) {
            assert_eq!(shortest.next(0.0), ceiling / 2);
            assert_eq!(longest.next(1.0), ceiling);
        }
    }
}
