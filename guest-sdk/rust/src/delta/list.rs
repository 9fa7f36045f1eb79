//! Lists: what was pushed, inserted, removed and changed, element by element.
//!
//! The equal head and tail are set aside; between them the longest common run of elements is
//! kept, and what lies between two kept elements is changed in place, then lengthened or
//! shortened. Must never cost more than the list it describes: a list that is mostly new is
//! replaced.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::Hash;

use super::{DeltaState, Patch, Unfit};
use crate::Json;

/// Most pairs of elements that are compared for the longest common run; beyond, the middle of the
/// list counts as changed. 65,536 is a middle of 256 elements, about a millisecond in a guest.
const PAIRS_MAX: usize = 65_536;

/// Additions and removals from which a list that keeps fewer elements than that is replaced.
const STEPS_MAX: usize = 256;

/// A stretch between two kept elements: `old` elements become those of `new`.
struct Gap {
    old: usize,
    new: std::ops::Range<usize>,
    /// Kept elements that follow it.
    kept: usize,
}

fn load<T: DeltaState, C: FromIterator<T>>(value: &Json) -> Result<C, Unfit> {
    let list = value.as_array().ok_or_else(|| Unfit::kind("a list", value))?;
    let load = |(index, element): (usize, &Json)| T::load(element).map_err(|unfit| unfit.within(&index.to_string()));
    list.iter().enumerate().map(load).collect()
}

fn save<'a, T: DeltaState + 'a>(elements: impl Iterator<Item = &'a T>) -> Result<Json, Unfit> {
    let save = |(index, element): (usize, &T)| element.save().map_err(|unfit| unfit.within(&index.to_string()));
    elements.enumerate().map(save).collect::<Result<_, _>>().map(Json::Array)
}

fn same<'a, T: DeltaState + 'a>(mut elements: impl ExactSizeIterator<Item = &'a T>, known: &Json) -> bool {
    known.as_array().is_some_and(|list| {
        list.len() == elements.len() && list.iter().all(|known| elements.next().is_some_and(|e| e.same(known)))
    })
}

/// Pairs of equal elements (old, new), rising in both: the longest such list.
fn common<T: DeltaState>(old: &[Json], new: &[&T]) -> Vec<(usize, usize)> {
    if old.is_empty() || new.is_empty() || old.len().saturating_mul(new.len()) > PAIRS_MAX {
        return Vec::new();
    }
    let width = new.len() + 1;
    // lengths[i * width + j] is the longest list within old[i..] and new[j..].
    let mut lengths = vec![0_u32; (old.len() + 1) * width];
    let mut equal = vec![false; old.len() * new.len()];
    for (i, known) in old.iter().enumerate().rev() {
        for (j, element) in new.iter().enumerate().rev() {
            let is_equal = element.same(known);
            equal[i * new.len() + j] = is_equal;
            lengths[i * width + j] = if is_equal {
                lengths[(i + 1) * width + j + 1] + 1
            } else {
                lengths[(i + 1) * width + j].max(lengths[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if equal[i * new.len() + j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

fn gaps<T: DeltaState>(known: &[Json], elements: &[&T]) -> Vec<Gap> {
    let head = known.iter().zip(elements).take_while(|(known, element)| element.same(known)).count();
    let (old, new) = (&known[head..], &elements[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(known, element)| element.same(known)).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);

    let mut gaps = vec![Gap { old: 0, new: 0..0, kept: head }];
    let (mut i, mut j) = (0, 0);
    for (next_i, next_j) in common(old, new) {
        match gaps.last_mut() {
            Some(last) if next_i == i && next_j == j => last.kept += 1,
            _ => gaps.push(Gap { old: next_i - i, new: head + j..head + next_j, kept: 1 }),
        }
        (i, j) = (next_i + 1, next_j + 1);
    }
    gaps.push(Gap { old: old.len() - i, new: head + j..head + new.len(), kept: tail });
    gaps
}

fn record<T: DeltaState>(elements: &[&T], known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
    let Some(list) = known.as_array_mut() else {
        *known = save(elements.iter().copied())?;
        patch.replace(known.clone());
        return Ok(());
    };
    let gaps = gaps(list, elements);
    let steps: usize = gaps.iter().map(|gap| gap.old.abs_diff(gap.new.len())).sum();
    let kept: usize = gaps.iter().map(|gap| gap.kept).sum();
    if steps > STEPS_MAX && steps > kept {
        *known = save(elements.iter().copied())?;
        patch.replace(known.clone());
        return Ok(());
    }
    let mut at = 0;
    for gap in gaps {
        let changed = gap.old.min(gap.new.len());
        let (change, lengthen) = elements[gap.new].split_at(changed);
        for element in change {
            patch.at_index(at, |patch| element.record(&mut list[at], patch)).map_err(|u| u.within(&at.to_string()))?;
            at += 1;
        }
        for last in (at..at + gap.old - changed).rev() {
            list.remove(last);
            patch.at_index(last, Patch::remove);
        }
        for element in lengthen {
            let value = element.save().map_err(|unfit| unfit.within(&at.to_string()))?;
            let key = if at == list.len() { "-".to_owned() } else { at.to_string() };
            patch.at(&key, |patch| patch.add(value.clone()));
            list.insert(at, value);
            at += 1;
        }
        at += gap.kept;
    }
    Ok(())
}

macro_rules! lists {
    ($($type:ty where $($bound:path),+;)*) => {$(
        impl<T: $($bound +)+> DeltaState for $type {
            fn load(value: &Json) -> Result<Self, Unfit> {
                load(value)
            }

            fn save(&self) -> Result<Json, Unfit> {
                save(self.iter())
            }

            fn same(&self, known: &Json) -> bool {
                same(self.iter(), known)
            }

            fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
                record(&self.iter().collect::<Vec<_>>(), known, patch)
            }
        }
    )*};
}

lists! {
    Vec<T> where DeltaState;
    VecDeque<T> where DeltaState;
    BTreeSet<T> where DeltaState, Ord;
}

fn sorted<T: Ord>(set: &HashSet<T>) -> Vec<&T> {
    let mut elements: Vec<&T> = set.iter().collect();
    elements.sort_unstable();
    elements
}

/// Kept as a sorted list, so that equal sets are equal documents.
impl<T: DeltaState + Ord + Hash> DeltaState for HashSet<T> {
    fn load(value: &Json) -> Result<Self, Unfit> {
        load(value)
    }

    fn save(&self) -> Result<Json, Unfit> {
        save(sorted(self).into_iter())
    }

    fn same(&self, known: &Json) -> bool {
        same(sorted(self).into_iter(), known)
    }

    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        record(&sorted(self), known, patch)
    }
}

impl<T: DeltaState, const N: usize> DeltaState for [T; N] {
    fn load(value: &Json) -> Result<Self, Unfit> {
        let elements: Vec<T> = load(value)?;
        let found = elements.len();
        elements.try_into().map_err(|_| Unfit::new(format!("expected a list of {N} elements, found {found}")))
    }

    fn save(&self) -> Result<Json, Unfit> {
        save(self.iter())
    }

    fn same(&self, known: &Json) -> bool {
        same(self.iter(), known)
    }

    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        record(&self.each_ref(), known, patch)
    }
}

/// Any JSON, compared place by place.
impl DeltaState for Json {
    fn load(value: &Json) -> Result<Self, Unfit> {
        Ok(value.clone())
    }

    fn save(&self) -> Result<Json, Unfit> {
        Ok(self.clone())
    }

    fn same(&self, known: &Json) -> bool {
        self == known
    }

    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        match self {
            Json::Array(elements) if known.is_array() => record(&elements.iter().collect::<Vec<_>>(), known, patch),
            Json::Object(fields) => match known {
                Json::Object(known) => super::map::record_entries(fields.iter(), known, patch),
                _ => super::replace(self, known, patch),
            },
            _ if self == known => Ok(()),
            _ => super::replace(self, known, patch),
        }
    }
}
