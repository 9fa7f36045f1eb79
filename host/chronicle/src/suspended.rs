//! A workspace whose history is closed for a while: descriptors are the host's, not an agent's.
//!
//! The dirty set goes on recording, so that nothing has to be looked at when it goes on. Must never be believed by another
//! opening: one that finds the history unclosed looks at everything.

use podium_kit::Clock;

use crate::beneath::Beneath;
use crate::chronicle::{Chronicle, Place, Tip, open_cas, open_database};
use crate::dirty::DirtySet;
use crate::error::ChronicleError;
use crate::gc::Retention;
use crate::ignored::Known;
use crate::limits::Limits;
use crate::trash::Trash;

/// What is left of an open workspace that holds no descriptor.
#[derive(Debug)]
pub struct Suspended {
    place: Place,
    dirty: DirtySet,
    clock: Clock,
    limits: Limits,
    retention: Retention,
    head: Tip,
    sure_times: bool,
}

impl Chronicle {
    /// Gives its descriptors back; the workspace itself where it is in the middle of something that only a cut or a rollback ends.
    pub fn suspend(self) -> Result<Suspended, Box<Self>> {
        let is_settled = !self.prepared && !self.unsettled && !self.unadopted && self.owed.is_none();
        // A commit in doubt may come back with the next opening, which must look at it.
        if !is_settled || self.tip != self.head || self.database.is_in_doubt() {
            return Err(Box::new(self));
        }
        let Self { place, dirty, clock, limits, retention, head, sure_times, .. } = self;
        Ok(Suspended { place, dirty, clock, limits, retention, head, sure_times })
    }
}

impl Suspended {
    /// Opens its history again. After an error the workspace is to be opened as after a crash.
    pub fn resume(self) -> Result<Chronicle, ChronicleError> {
        let Self { place, dirty, clock, limits, retention, head, sure_times } = self;
        let database = open_database(&place)?;
        let work = Beneath::open(&place.work()).map_err(|error| ChronicleError::file(place.work(), error))?;
        let tmp = Trash::open(place.tmp())?;
        let (cas, _) = open_cas(&place, &database, &limits)?;
        Ok(Chronicle {
            place,
            work,
            tmp,
            database,
            cas,
            dirty,
            clock,
            limits,
            retention,
            patterns: Known::default(),
            head,
            tip: head,
            prepared: false,
            owed: None,
            unadopted: false,
            unsettled: false,
            sure_times,
        })
    }
}
