//! Named moments of a snapshot, a restore and a collection, at which tests look at the disk or make a step fail.
//!
//! Outside this crate's own tests a call is nothing at all.

/// A moment; in tests it may fail as the system would.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn hit(_name: &'static str) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use testing::hit;

#[cfg(test)]
pub(crate) mod testing {
    //! The hook of the current thread.

    use std::cell::RefCell;
    use std::io;

    type Hook = Box<dyn FnMut(&'static str) -> io::Result<()>>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    pub(crate) fn hit(name: &'static str) -> io::Result<()> {
        // Taken out meanwhile: what a hook does may come by here again.
        let Some(mut hook) = HOOK.with_borrow_mut(Option::take) else { return Ok(()) };
        let result = hook(name);
        HOOK.with_borrow_mut(|slot| {
            slot.get_or_insert(hook);
        });
        result
    }

    /// Calls `hook` at every moment of this thread until [`clear`].
    pub(crate) fn set(hook: impl FnMut(&'static str) -> io::Result<()> + 'static) {
        HOOK.with_borrow_mut(|slot| *slot = Some(Box::new(hook)));
    }

    pub(crate) fn clear() {
        HOOK.with_borrow_mut(|slot| *slot = None);
    }
}
