//! How many guests live at once on this machine: the pool's size, from what the kernel gives a process.
//!
//! Pure, so that `podium doctor` says of a machine what a host on it would do.

/// Guests that live at once, at most: DESIGN §11's figure for a machine of 2 cores.
pub const GUESTS_MAX: usize = 10_000;

/// Linear memories of one component: those of Rust, JavaScript and Python have one or two, however many core instances they
/// have; a few components may be composed into one.
pub(crate) const MEMORIES_PER_COMPONENT: u32 = 4;

/// Tables of one component: a Python component has nearly 20.
pub(crate) const TABLES_PER_COMPONENT: u32 = 24;

/// Tables for which a guest takes one place: a Rust guest has fewer.
pub(crate) const TABLES_PER_PLACE: u32 = 6;

/// Memory mappings that the pool makes for a guest's stack before any guest lives: the stack and its guard.
const MAPPINGS_PER_STACK: u64 = 2;

/// Mappings of a guest that lives: pieces of its linear memory and its tables (measured for Rust; others have a few more).
const MAPPINGS_PER_GUEST: u64 = 4;

/// Mappings of everything else: the binary, threads, the heap, compiled code, and the shared memory of open databases, two for
/// each of a thousand agents.
const MAPPINGS_OF_HOST: u64 = 4_000;

/// Where Linux says how many mappings a process may have.
const LIMIT_FILE: &str = "/proc/sys/vm/max_map_count";

/// Mappings that a process may have here; none when the system does not say.
pub fn mappings_limit() -> Option<u64> {
    std::fs::read_to_string(LIMIT_FILE).ok()?.trim().parse().ok()
}

/// The places that a guest takes of the host's, by what its component needs of the pool. A guest of one memory takes one;
/// none takes more than there are, and the pool has enough for it.
pub(crate) fn places(memories: u32, tables: u32, of: usize) -> u32 {
    let all = u32::try_from(of).unwrap_or(u32::MAX).max(1);
    memories.max(tables.div_ceil(TABLES_PER_PLACE)).clamp(1, all)
}

/// Guests that fit into this many mappings; without a known limit, all.
pub fn guests_that_fit(mappings: Option<u64>) -> usize {
    let Some(mappings) = mappings else { return GUESTS_MAX };
    let fit = mappings.saturating_sub(MAPPINGS_OF_HOST) / (MAPPINGS_PER_STACK + MAPPINGS_PER_GUEST);
    // One at least: a host that can run nothing is of no use, and says so by the first guest's error.
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, GUESTS_MAX)
}

/// Mappings that so many guests need.
pub fn mappings_for(guests: usize) -> u64 {
    MAPPINGS_OF_HOST + (MAPPINGS_PER_STACK + MAPPINGS_PER_GUEST) * guests as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_default_of_linux_is_enough_for_all() {
        assert_eq!(guests_that_fit(Some(65_530)), GUESTS_MAX);
        assert_eq!(guests_that_fit(None), GUESTS_MAX);
    }

    proptest! {
        /// Guests that have their places never ask the pool for more than it has.
        #[test]
        fn what_has_its_places_fits(
            all in 1..200_u32,
            guests in prop::collection::vec((0..=MEMORIES_PER_COMPONENT, 0..=TABLES_PER_COMPONENT), 0..400),
        ) {
            let (mut taken, mut memories, mut tables) = (0, 0, 0);
            for (needs_memories, needs_tables) in guests {
                let places = places(needs_memories, needs_tables, all as usize);
                prop_assert!((1..=all).contains(&places));
                if taken + places > all {
                    continue;
                }
                taken += places;
                memories += needs_memories;
                tables += needs_tables;
                prop_assert!(memories <= all.max(MEMORIES_PER_COMPONENT));
                prop_assert!(tables <= (all * TABLES_PER_PLACE).max(TABLES_PER_COMPONENT));
            }
        }

        #[test]
        fn what_fits_is_what_is_needed(guests in 1..=GUESTS_MAX, less in 1..100_000_u64) {
            prop_assert_eq!(guests_that_fit(Some(mappings_for(guests))), guests);
            let fewer = mappings_for(guests).saturating_sub(less);
            prop_assert!(guests_that_fit(Some(fewer)) < guests || guests == 1);
        }
    }
}
