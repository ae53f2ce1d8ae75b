//! Entries by sequence number, made for numbers that come nearly in order: those lie in a row, found by their distance from the
//! first. What comes far out of order goes to a map, so that no order of numbers costs more than a map would.

use std::collections::{BTreeMap, VecDeque};

/// So far from the end of the row an entry is still put into it: a network overtakes by less.
const NEAR: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Waiting<T> {
    /// Rising numbers.
    row: VecDeque<(u32, T)>,
    /// Numbers that the row has not.
    far: BTreeMap<u32, T>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Waiting<T> {
        Waiting { row: VecDeque::new(), far: BTreeMap::new() }
    }
}

impl<T: Default> Waiting<T> {
    pub(crate) fn len(&self) -> usize {
        self.row.len() + self.far.len()
    }

    /// Where the row has this number, or where it would be put.
    fn index(&self, sequence: u32) -> Result<usize, usize> {
        let Some((first, _)) = self.row.front() else { return Err(0) };
        // Right where none is missing.
        let guess = sequence.checked_sub(*first).map_or(0, |distance| distance as usize);
        match self.row.get(guess) {
            Some((there, _)) if *there == sequence => Ok(guess),
            _ if self.row.back().is_some_and(|(last, _)| *last < sequence) => Err(self.row.len()),
            _ => self.row.binary_search_by_key(&sequence, |(there, _)| *there),
        }
    }

    pub(crate) fn get_or_default(&mut self, sequence: u32) -> &mut T {
        let index = match self.index(sequence) {
            Ok(index) => index,
            Err(index) => {
                if self.far.contains_key(&sequence) || self.row.len() - index > NEAR {
                    return self.far.entry(sequence).or_default();
                }
                self.row.insert(index, (sequence, T::default()));
                index
            }
        };
        &mut self.row[index].1
    }

    /// The entry with the smallest number.
    pub(crate) fn first(&self) -> Option<(u32, &T)> {
        let row = self.row.front().map(|(sequence, entry)| (*sequence, entry));
        let far = self.far.first_key_value().map(|(sequence, entry)| (*sequence, entry));
        match (row, far) {
            (Some(row), Some(far)) => Some(if row.0 < far.0 { row } else { far }),
            (row, far) => row.or(far),
        }
    }

    pub(crate) fn pop_first(&mut self) -> Option<(u32, T)> {
        let in_row = self.row.front().map(|(sequence, _)| *sequence);
        match self.far.first_key_value() {
            Some((far, _)) if in_row.is_none_or(|row| *far < row) => self.far.pop_first(),
            _ => self.row.pop_front(),
        }
    }
}

impl<T> Waiting<T> {
    /// Gives back what a burst needed. To be called now and then.
    pub(crate) fn shrink(&mut self) {
        if self.row.capacity() > NEAR && self.row.capacity() / 4 > self.row.len() {
            self.row.shrink_to(self.row.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is done, it is what a map does.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u32..400, any::<bool>(), 0u32..8), 0..600), start in prop::sample::select(vec![0, 7, u32::MAX - 900])) {
            let (mut ours, mut map) = (Waiting::<u32>::default(), BTreeMap::<u32, u32>::new());
            for (number, (jump, pop, near)) in (0u32..).zip(steps) {
                // Mostly rising, sometimes anywhere.
                let sequence = start + if near == 0 { jump } else { number / 2 + near };
                *ours.get_or_default(sequence) += number + 1;
                *map.entry(sequence).or_default() += number + 1;
                if pop && near < 4 {
                    prop_assert_eq!(ours.pop_first(), map.pop_first());
                }
                prop_assert_eq!(ours.len(), map.len());
                prop_assert_eq!(ours.first(), map.first_key_value().map(|(sequence, entry)| (*sequence, entry)));
            }
            prop_assert_eq!(std::iter::from_fn(|| ours.pop_first()).collect::<Vec<_>>(), map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_burst_gives_its_memory_back() {
        let mut ours = Waiting::<u64>::default();
        (0..100_000u32).for_each(|sequence| *ours.get_or_default(sequence) = 1);
        while ours.len() > 10 {
            ours.pop_first();
        }
        ours.shrink();
        assert!(ours.row.capacity() <= NEAR, "{}", ours.row.capacity());
        assert_eq!(ours.pop_first(), Some((99_990, 1)));
    }

    #[test]
    fn the_worst_order_fills_the_map_and_shifts_nothing() {
        let mut ours = Waiting::<u32>::default();
        (0..100_000u32).rev().for_each(|sequence| *ours.get_or_default(sequence) = sequence);
        assert!(ours.row.len() <= NEAR + 1, "{}", ours.row.len());
        let all: Vec<u32> = std::iter::from_fn(|| ours.pop_first()).map(|(sequence, _)| sequence).collect();
        assert!(all.len() == 100_000 && all.is_sorted());
    }
}
