//! Entries that rotted on the disk: where they stand is known, what they say is not.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::types::Index;

/// Stretches of damaged entries, which do not touch each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Damage {
    /// The last entry of each stretch, by its first.
    stretches: BTreeMap<Index, Index>,
}

impl Damage {
    pub(super) fn of(stretches: impl IntoIterator<Item = RangeInclusive<Index>>) -> Damage {
        let mut damage = Damage::default();
        for stretch in stretches {
            damage.add(stretch);
        }
        damage
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The first stretch.
    pub(super) fn first(&self) -> Option<RangeInclusive<Index>> {
        let (first, last) = self.stretches.first_key_value()?;
        Some(*first..=*last)
    }

    /// The last damaged entry; 0 where there is none.
    pub(super) fn last(&self) -> Index {
        self.stretches.last_key_value().map_or(0, |(_, last)| *last)
    }

    pub(super) fn contains(&self, index: Index) -> bool {
        let before = self.stretches.range(..=index).next_back();
        before.is_some_and(|(_, last)| *last >= index)
    }

    /// The first damaged entry from an index on.
    pub(super) fn next_from(&self, index: Index) -> Option<Index> {
        if self.contains(index) {
            return Some(index);
        }
        self.stretches
            .range(index..)
            .next()
            .map(|(first, _)| *first)
    }

    pub(super) fn add(&mut self, stretch: RangeInclusive<Index>) {
        let (mut first, mut last) = stretch.into_inner();
        if first > last {
            return;
        }
        // Those that it overlaps or touches.
        while let Some((begin, end)) = self
            .stretches
            .range(..=last.saturating_add(1))
            .next_back()
            .map(|(begin, end)| (*begin, *end))
            .filter(|(_, end)| end.saturating_add(1) >= first)
        {
            self.stretches.remove(&begin);
            first = first.min(begin);
            last = last.max(end);
        }
        self.stretches.insert(first, last);
    }

    /// This entry is whole again.
    pub(super) fn remove(&mut self, index: Index) {
        let before = self.stretches.range(..=index).next_back();
        let Some((first, last)) = before.map(|(first, last)| (*first, *last)) else {
            return;
        };
        if last < index {
            return;
        }
        self.stretches.remove(&first);
        if first < index {
            self.stretches.insert(first, index - 1);
        }
        if index < last {
            self.stretches.insert(index + 1, last);
        }
    }

    /// Forgets what is not in a log any more that holds these entries.
    pub(super) fn keep(&mut self, held: RangeInclusive<Index>) {
        let (first, last) = held.into_inner();
        let all = std::mem::take(&mut self.stretches);
        self.stretches = all
            .into_iter()
            .map(|(begin, end)| (begin.max(first), end.min(last)))
            .filter(|(begin, end)| begin <= end)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every way to add, remove and cut, against a set of the damaged entries.
    #[test]
    fn stretches_are_a_set_of_entries() {
        let mut random = 1_u64;
        let mut draw = |most: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            1 + (random >> 33) % most
        };
        let (mut damage, mut model) = (Damage::default(), BTreeSet::new());
        for _ in 0..5000 {
            let (a, b) = (draw(40), draw(8));
            match draw(4) {
                1 => {
                    damage.add(a..=a + b - 1);
                    model.extend(a..a + b);
                }
                2 | 3 => {
                    damage.remove(a);
                    model.remove(&a);
                }
                _ => {
                    let (low, high) = (draw(6), 30 + draw(20));
                    damage.keep(low..=high);
                    model.retain(|index| (low..=high).contains(index));
                }
            }
            assert_eq!(damage.last(), model.last().copied().unwrap_or(0));
            assert_eq!(damage.is_empty(), model.is_empty());
            for index in 0..60 {
                assert_eq!(damage.contains(index), model.contains(&index));
                assert_eq!(
                    damage.next_from(index),
                    model.range(index..).next().copied()
                );
            }
            let stretches: Vec<_> = damage.stretches.iter().collect();
            assert!(stretches.windows(2).all(|pair| pair[0].1 + 1 < *pair[1].0));
            let first = damage.first().map(|stretch| *stretch.start());
            assert_eq!(first, model.first().copied());
        }
    }
}
