//! The one budget of this process's descriptors: who may hold how many, and the counting of those who do.
//!
//! Every descriptor of the host belongs to one part: connections, guests' files, files in transfer, databases, histories of workspaces, and the host's own. A part that is
//! used up refuses, with an error that says so, so that the system never has to: `EMFILE` in a commit or an accept loop
//! would be a failure of whoever comes next. Must never hand out more than the system allows.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, getrlimit, setrlimit};

/// The host's own: listeners, pollers, the list of instances, the registry, the log, folders that are open for their fsync,
/// and databases in use that are one too many until one is closed (a thread each).
const OWN_MAX: u64 = 512;

/// The host's own are this share of a small limit.
const OWN_SHARE: u64 = 4;

/// Percent of the rest for connections: at the usual 20,000 they are the 10,000 clients of DESIGN §11 and some.
const CONNECTIONS_PERCENT: u64 = 55;

/// Percent of the rest for files that guests hold open. Most agents open none.
const GUEST_FILES_PERCENT: u64 = 15;

/// Percent of the rest for files on their way in or out over HTTP: uploads, downloads and deploys.
const TRANSFERS_PERCENT: u64 = 5;

/// Of the databases' part, one in so many is for the histories of workspaces: few agents write files at the same time, and those used longest
/// ago give way.
const HISTORIES_SHARE: u64 = 8;

/// More of them at once would share one disk and one wire in pieces too small to matter.
const TRANSFERS_MAX: u64 = 256;

/// Of the connections one in so many is kept from WebSockets, which stay for hours: health, metrics and single requests get
/// through when clients have taken all they may.
const REQUESTS_SHARE: usize = 16;

/// How a limit of descriptors is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Descriptors of the process.
    pub limit: u64,
    /// Connections that are open at once.
    pub connections: usize,
    /// Those of them that may be WebSockets.
    pub websockets: usize,
    /// Files and folders that guests hold open, all together.
    pub guest_files: usize,
    /// Files on their way in or out.
    pub transfers: usize,
    /// Files of databases.
    pub databases: usize,
    /// Folders, databases and segments of workspaces' histories.
    pub histories: usize,
}

impl Budget {
    /// Shares out a limit.
    pub fn of(limit: u64) -> Self {
        let rest = limit - (limit / OWN_SHARE).min(OWN_MAX);
        let share = |percent: u64| rest / 100 * percent + rest % 100 * percent / 100;
        let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let (connections, guest_files) = (share(CONNECTIONS_PERCENT), share(GUEST_FILES_PERCENT));
        let transfers = share(TRANSFERS_PERCENT).min(TRANSFERS_MAX);
        let databases = rest - connections - guest_files - transfers;
        let histories = databases / HISTORIES_SHARE;
        let databases = databases - histories;
        let connections = size(connections);
        let websockets = connections - connections.div_ceil(REQUESTS_SHARE);
        let (guest_files, transfers) = (size(guest_files), size(transfers));
        let (databases, histories) = (size(databases), size(histories));
        Self { limit, connections, websockets, guest_files, transfers, databases, histories }
    }

    /// That of this process, by its limit now.
    pub fn of_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
    }

    /// The least limit that has room for so many WebSockets.
    pub fn limit_for_websockets(websockets: usize) -> u64 {
        let enough = |limit: u64| Self::of(limit).websockets >= websockets;
        let mut above = 64;
        while !enough(above) && above < u64::MAX / 2 {
            above *= 2;
        }
        // More of a limit never means less of a part (a property below), so halving finds the least one.
        let mut below = 0;
        while above - below > 1 {
            let middle = below + (above - below) / 2;
            if enough(middle) { above = middle } else { below = middle }
        }
        above
    }
}

/// Takes as many descriptors as the system lets this process have.
///
/// # Errors
/// When the system refuses; the limit is as it was.
pub fn raise_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return Ok(());
    }
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// One part of the budget, and how much of it is held; clones are the same one.
#[derive(Debug, Clone)]
pub struct Part(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    max: usize,
    held: AtomicUsize,
}

impl Part {
    /// A part of so many descriptors.
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Counted { max, held: AtomicUsize::new(0) }))
    }

    /// How many there are.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Acquire)
    }

    /// Takes one; none when the part is used up.
    pub fn take(&self) -> Option<Held> {
        let mut held = self.hold_nothing();
        held.set(1).then_some(held)
    }

    /// A holder that holds nothing yet.
    pub fn hold_nothing(&self) -> Held {
        Held { part: self.clone(), count: 0 }
    }
}

/// Descriptors of a part, until this is dropped.
#[derive(Debug)]
pub struct Held {
    part: Part,
    count: usize,
}

impl Held {
    /// How many there are in its part.
    pub fn max(&self) -> usize {
        self.part.max()
    }

    /// Holds so many from here on; false, and nothing changed, when the part has not so many left.
    pub fn set(&mut self, count: usize) -> bool {
        let counted = &self.part.0;
        if count <= self.count {
            counted.held.fetch_sub(self.count - count, Ordering::AcqRel);
        } else {
            let more = count - self.count;
            let fits = |held: usize| held.checked_add(more).filter(|held| *held <= counted.max);
            if counted.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
                return false;
            }
        }
        self.count = count;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ten_thousand_clients_fit_where_twenty_thousand_descriptors_do() {
        let budget = Budget::of(20_000);
        assert!(budget.websockets >= 10_000, "{budget:?}");
        assert!(Budget::limit_for_websockets(10_000) <= 20_000);
    }

    #[test]
    fn files_in_transfer_grow_with_the_limit_up_to_a_few_hundred() {
        let transfers = |limit| Budget::of(limit).transfers;
        assert_eq!([128, 1024, 4096].map(transfers), [4, 38, 179]);
        assert_eq!([20_000, u64::MAX].map(transfers), [256, 256]);
    }

    #[test]
    fn an_unlimited_process_has_a_budget() {
        let budget = Budget::of(u64::MAX);
        assert!(budget.databases > 1_000_000 && budget.websockets > 1_000_000);
    }

    #[test]
    fn a_part_that_is_used_up_refuses_until_something_is_given_back() {
        let part = Part::new(2);
        let (first, second) = (part.take(), part.take());
        assert!(first.is_some() && second.is_some() && part.take().is_none());
        drop(first);
        assert_eq!((part.held(), part.take().is_some()), (1, true));
    }

    proptest! {
        /// The parts and the host's own are the limit, and a larger limit makes no part smaller.
        #[test]
        fn nothing_is_handed_out_twice(limit in any::<u64>(), more in 0..10_000_u64) {
            let budget = Budget::of(limit);
            let Budget { connections, guest_files, transfers, databases, histories, .. } = budget;
            let parts = [connections, guest_files, transfers, databases, histories];
            let parts = parts.map(|part| part as u128);
            let own = (limit / OWN_SHARE).min(OWN_MAX);
            prop_assert_eq!(parts.iter().sum::<u128>() + u128::from(own), u128::from(limit));
            prop_assert!(budget.websockets <= budget.connections);
            if limit >= 64 {
                prop_assert!(budget.websockets < budget.connections);
                prop_assert!(budget.guest_files > 0 && budget.transfers > 0 && budget.databases > 0);
            }
            let larger = Budget::of(limit.saturating_add(more));
            prop_assert!(larger.connections >= budget.connections && larger.websockets >= budget.websockets);
            prop_assert!(larger.guest_files >= budget.guest_files && larger.transfers >= budget.transfers);
            // Three shares may round up at once.
            prop_assert!(larger.databases + 2 >= budget.databases, "{:?} {:?}", budget, larger);
            prop_assert!(larger.histories + 1 >= budget.histories, "{:?} {:?}", budget, larger);
        }

        #[test]
        fn the_least_limit_is_enough_and_one_less_is_not(websockets in 1..2_000_000_usize) {
            let limit = Budget::limit_for_websockets(websockets);
            prop_assert!(Budget::of(limit).websockets >= websockets);
            prop_assert!(Budget::of(limit - 1).websockets < websockets);
        }

        /// What is held is what the holders hold, and never more than there is.
        #[test]
        fn holders_and_part_agree(max in 0..40_usize, steps in prop::collection::vec((0..4_usize, 0..20_usize), 0..60)) {
            let part = Part::new(max);
            let mut holders: Vec<_> = (0..4).map(|_| part.hold_nothing()).collect();
            let mut counts = [0_usize; 4];
            for (who, count) in steps {
                let others: usize = counts.iter().sum::<usize>() - counts[who];
                let fits = others + count <= max;
                prop_assert_eq!(holders[who].set(count), fits || count <= counts[who]);
                if fits || count <= counts[who] {
                    counts[who] = count;
                }
                prop_assert_eq!(part.held(), counts.iter().sum::<usize>());
            }
            drop(holders);
            prop_assert_eq!(part.held(), 0);
        }
    }
}
