//! How many slots may be open: a share of the process's descriptors.
//!
//! Must never raise the process's limit: that is the binary's.

use rustix::process::{Resource, getrlimit};

/// Most slots that are open at once. 1,000 agents with three databases each are about 100 MB of connections.
pub const OPEN_SLOTS_MAX: usize = 1000;

/// Fewest: below that a busy host would only open and close.
const OPEN_SLOTS_MIN: usize = 16;

/// Descriptors counted for a slot: three files for each of three databases, and as many again for its guest and
/// its sockets.
const DESCRIPTORS_PER_SLOT: u64 = 12;

/// The share for databases of this process's descriptors.
pub fn open_slots_default() -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / DESCRIPTORS_PER_SLOT).unwrap_or(usize::MAX).clamp(OPEN_SLOTS_MIN, OPEN_SLOTS_MAX)
}
