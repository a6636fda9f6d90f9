//! How long things took.

use serde::Serialize;

/// A distribution, in microseconds. Of nothing, all of it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Latencies {
    pub(crate) p50_us: u32,
    pub(crate) p90_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) p999_us: u32,
    pub(crate) max_us: u32,
}

impl Latencies {
    /// Sorts them, and reads the distribution off.
    pub(crate) fn of(mut micros: Vec<u32>) -> Latencies {
        micros.sort_unstable();
        let at = |thousandths: usize| {
            let last = micros.len().saturating_sub(1);
            let rank = micros.len() * thousandths / 1000;
            micros.get(rank.min(last)).copied().unwrap_or(0)
        };
        Latencies {
            p50_us: at(500),
            p90_us: at(900),
            p99_us: at(990),
            p999_us: at(999),
            max_us: micros.last().copied().unwrap_or(0),
        }
    }
}

/// Whole microseconds; more than an hour counts as an hour and a bit.
pub(crate) fn micros(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_read_off_the_sorted_values() {
        assert_eq!(Latencies::of(Vec::new()), Latencies::default());
        let of_one = Latencies::of(vec![7]);
        assert_eq!((of_one.p50_us, of_one.p99_us, of_one.max_us), (7, 7, 7));
        let many = Latencies::of((1..=1000).rev().collect());
        assert_eq!((many.p50_us, many.p99_us, many.max_us), (501, 991, 1000));
    }
}
