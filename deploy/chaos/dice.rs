//! Chance that a seed decides: the same seed gives the same plan on every machine.

/// A stream of numbers: `SplitMix64`.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Returns a number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from(self.next() % bound).unwrap()
    }

    /// Returns a number from `low` up to and without `high`.
    pub fn within(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low)
    }

    /// Says yes in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// Returns one of them.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Takes one out of a deck, which is made of these anew when it is empty.
    pub fn deal<T: Copy>(&mut self, deck: &mut Vec<T>, all: &[T]) -> T {
        if deck.is_empty() {
            deck.extend(all);
        }
        deck.swap_remove(self.below(deck.len()))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
