//! How many slots may be open: the databases' part of the process's descriptors.
//!
//! Must never raise the process's limit: that is the binary's.

use podium_kit::descriptors::Budget;

/// Most slots that are open at once. 1,000 agents with three databases each are about 100 MB of connections.
pub const OPEN_SLOTS_MAX: usize = 1000;

/// Fewest: below that a busy host would only open and close.
const OPEN_SLOTS_MIN: usize = 4;

/// Descriptors of a slot: three files for each of three databases.
const DESCRIPTORS_PER_SLOT: usize = 9;

/// Slots that fit into the databases' part.
pub fn open_slots(budget: &Budget) -> usize {
    (budget.databases / DESCRIPTORS_PER_SLOT).clamp(OPEN_SLOTS_MIN, OPEN_SLOTS_MAX)
}
