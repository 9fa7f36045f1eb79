//! Which cut was the first that is bad: halving, with cuts that cannot be tried. Pure.

/// What a try of a cut showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Good,
    /// It is not.
    Bad,
    /// That cannot be said.
    Skip,
}

/// The search: the first of its cuts is good, the last is bad.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    /// What is left, oldest first; those that cannot be tried are marked.
    cuts: Vec<(u64, bool)>,
}

impl Search {
    /// Cuts from a good one to a bad one, oldest first; at least those two.
    pub(crate) fn new(cuts: &[u64]) -> Option<Self> {
        (cuts.len() >= 2).then(|| Self { cuts: cuts.iter().map(|cut| (*cut, false)).collect() })
    }

    /// The cut to try next; none when no more can be known. The one nearest to the middle.
    pub(crate) fn next(&self) -> Option<u64> {
        let middle = self.cuts.len() / 2;
        let inner = self.cuts.iter().enumerate().skip(1).take(self.cuts.len().saturating_sub(2));
        let open = inner.filter(|(_, (_, skipped))| !skipped);
        open.min_by_key(|(index, _)| index.abs_diff(middle)).map(|(_, (cut, _))| *cut)
    }

    /// What trying a cut showed.
    pub(crate) fn tell(&mut self, cut: u64, verdict: Verdict) {
        let Some(index) = self.cuts.iter().position(|(known, _)| *known == cut) else { return };
        match verdict {
            Verdict::Good => drop(self.cuts.drain(..index)),
            Verdict::Bad => self.cuts.truncate(index + 1),
            Verdict::Skip => self.cuts[index].1 = true,
        }
    }

    /// Tries that are left at most, those that cannot be tried aside.
    pub(crate) fn tries_left(&self) -> u32 {
        let open = self.cuts.len().saturating_sub(2);
        usize::BITS - open.leading_zeros()
    }

    /// The cuts of which one is the first bad one: more than one only where some could not be tried.
    pub(crate) fn suspects(&self) -> Vec<u64> {
        self.cuts.iter().skip(1).map(|(cut, _)| *cut).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever can be tried: the first bad one is among the suspects, and alone where everything could be; in as many tries as
        /// halving needs.
        #[test]
        fn the_first_bad_one_is_found(
            count in 2..300_usize,
            bad in any::<prop::sample::Index>(),
            skips in prop::collection::btree_set(0..300_usize, 0..6),
        ) {
            let cuts: Vec<u64> = (0..count as u64).map(|n| 3 * n + 1).collect();
            let first_bad = 1 + bad.index(count - 1);
            let mut search = Search::new(&cuts).expect("two at least");
            let mut tries = 0;
            let allowed = search.tries_left();
            while let Some(cut) = search.next() {
                let index = cuts.iter().position(|known| *known == cut).expect("one of them");
                let verdict = match index {
                    _ if skips.contains(&index) => Verdict::Skip,
                    index if index >= first_bad => Verdict::Bad,
                    _ => Verdict::Good,
                };
                search.tell(cut, verdict);
                tries += u32::from(verdict != Verdict::Skip);
                prop_assert!(tries <= 2 * allowed + 2);
            }
            let suspects = search.suspects();
            prop_assert!(suspects.contains(&cuts[first_bad]));
            let untried = suspects.iter().filter(|cut| {
                skips.contains(&cuts.iter().position(|known| known == *cut).expect("one of them"))
            });
            prop_assert!(suspects.len() <= untried.count() + 1);
            if skips.is_empty() {
                prop_assert!(tries <= allowed, "{} tries for {} cuts", tries, count);
            }
        }
    }
}
