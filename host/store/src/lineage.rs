//! Which cuts, and which messages, lie before a cut: the chain of its parents, as stretches of numbers. Pure.
//!
//! Nearly every cut follows the one before it. Those that do not are the jumps; all else is known from them. Must never depend on how
//! many cuts there are.

/// A cut that follows another one than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    /// Its number.
    pub(crate) cut: u64,
    /// The cut that it follows.
    pub(crate) parent: u64,
    /// The last message that was given before it.
    pub(crate) messages_before: u64,
    /// The last message that was given up to its parent.
    pub(crate) messages_at_parent: u64,
}

/// Numbers above `after`, up to and with `through`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) after: u64,
    pub(crate) through: u64,
}

impl Stretch {
    fn is_empty(self) -> bool {
        self.after >= self.through
    }

    fn has(self, number: u64) -> bool {
        self.after < number && number <= self.through
    }
}

/// The jumps of an instance, by cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lineage(Vec<Jump>);

impl Lineage {
    /// From jumps in the order of their cuts.
    pub(crate) fn new(jumps: Vec<Jump>) -> Self {
        debug_assert!(jumps.is_sorted_by(|a, b| a.cut < b.cut));
        Self(jumps)
    }

    /// The last jump up to a cut.
    fn jump(&self, cut: u64) -> Option<&Jump> {
        let after = self.0.partition_point(|jump| jump.cut <= cut);
        after.checked_sub(1).and_then(|index| self.0.get(index))
    }

    /// The chain of a cut and its parents, oldest stretch first.
    pub(crate) fn cuts(&self, head: u64) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let mut at = head;
        while at > 0 {
            // A parent is always an earlier cut, so this ends.
            let (after, next) = self.jump(at).map_or((0, 0), |jump| (jump.cut - 1, jump.parent.min(jump.cut - 1)));
            stretches.push(Stretch { after, through: at });
            at = next;
        }
        stretches.reverse();
        stretches
    }

    /// The messages of that chain, oldest stretch first; `last` is the last message given up to `head`.
    pub(crate) fn messages(&self, head: u64, last: u64) -> Vec<Stretch> {
        let mut stretches = Vec::new();
        let (mut at, mut through) = (head, last);
        loop {
            let jump = self.jump(at);
            let stretch = Stretch { after: jump.map_or(0, |jump| jump.messages_before), through };
            if !stretch.is_empty() {
                stretches.push(stretch);
            }
            let Some(jump) = jump else { break };
            (at, through) = (jump.parent.min(jump.cut - 1), jump.messages_at_parent);
        }
        stretches.reverse();
        stretches
    }
}

/// True when one of these stretches, oldest first, has the number.
pub(crate) fn has(stretches: &[Stretch], number: u64) -> bool {
    let at = stretches.partition_point(|stretch| stretch.through < number);
    stretches.get(at).is_some_and(|stretch| stretch.has(number))
}

/// What of `these` is in none of `others`; both oldest first, as the answer is.
pub(crate) fn without(these: &[Stretch], others: &[Stretch]) -> Vec<Stretch> {
    let mut left = Vec::new();
    for &Stretch { mut after, through } in these {
        for other in others {
            if other.through <= after || other.after >= through {
                continue;
            }
            let before = Stretch { after, through: other.after };
            if !before.is_empty() {
                left.push(before);
            }
            after = after.max(other.through);
        }
        let rest = Stretch { after, through };
        if !rest.is_empty() {
            left.push(rest);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A life of cuts, each with its parent and the messages that it gave.
    #[derive(Debug, Clone)]
    struct Life {
        /// Parent and last message of each cut; the first is cut 1.
        cuts: Vec<(u64, u64)>,
        jumps: Vec<Jump>,
    }

    /// Each step is how many messages a cut gives and, for a rewind, where to: a part of what is there.
    fn life(steps: &[(u64, Option<u16>)]) -> Life {
        let mut life = Life { cuts: Vec::new(), jumps: Vec::new() };
        for (messages, to) in steps {
            let head = life.cuts.len() as u64;
            let last = life.cuts.last().map_or(0, |cut| cut.1);
            let parent = match to {
                Some(to) if head > 0 => 1 + u64::from(*to) % head,
                _ => head,
            };
            if parent != head {
                let messages_at_parent = life.cuts[parent as usize - 1].1;
                life.jumps.push(Jump { cut: head + 1, parent, messages_before: last, messages_at_parent });
            }
            life.cuts.push((parent, last + messages));
        }
        life
    }

    impl Life {
        /// Cuts and messages of a chain, found one parent after the other.
        fn walked(&self, head: u64) -> (BTreeSet<u64>, BTreeSet<u64>) {
            let (mut cuts, mut messages, mut at) = (BTreeSet::new(), BTreeSet::new(), head);
            while at > 0 {
                cuts.insert(at);
                let given_before = if at == 1 { 0 } else { self.cuts[at as usize - 2].1 };
                messages.extend(given_before + 1..=self.cuts[at as usize - 1].1);
                at = self.cuts[at as usize - 1].0;
            }
            (cuts, messages)
        }

        fn stretches(&self, head: u64) -> (Vec<Stretch>, Vec<Stretch>) {
            let lineage = Lineage::new(self.jumps.clone());
            (lineage.cuts(head), lineage.messages(head, self.cuts[head as usize - 1].1))
        }
    }

    fn numbers(stretches: &[Stretch]) -> Vec<u64> {
        stretches.iter().flat_map(|stretch| stretch.after + 1..=stretch.through).collect()
    }

    proptest! {
        /// Whatever was rewound to where: the stretches are the chain of parents, in order and each number once.
        #[test]
        fn stretches_are_the_chain_of_parents(
            steps in prop::collection::vec((0..4_u64, prop::option::weighted(0.4, any::<u16>())), 1..60),
            other in any::<u16>(),
        ) {
            let life = life(&steps);
            let heads = [life.cuts.len() as u64, 1 + u64::from(other) % life.cuts.len() as u64];
            for head in heads {
                let (cuts, messages) = life.walked(head);
                let (cut_stretches, message_stretches) = life.stretches(head);
                prop_assert_eq!(numbers(&cut_stretches), cuts.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(numbers(&message_stretches), messages.iter().copied().collect::<Vec<_>>());
                for cut in 0..=life.cuts.len() as u64 + 1 {
                    prop_assert_eq!(has(&cut_stretches, cut), cuts.contains(&cut));
                }
            }
            let [(_, these), (_, others)] = heads.map(|head| life.walked(head));
            let [(_, a), (_, b)] = heads.map(|head| life.stretches(head));
            prop_assert_eq!(numbers(&without(&a, &b)), these.difference(&others).copied().collect::<Vec<_>>());
            prop_assert_eq!(numbers(&without(&b, &a)), others.difference(&these).copied().collect::<Vec<_>>());
        }
    }
}
