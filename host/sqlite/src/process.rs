//! The process-wide settings of SQLite, made once before the first connection.
//!
//! The only unsafe code of the room. Must run before any other use of SQLite in the process.

use std::sync::Once;

use rusqlite::ffi;

static CONFIGURED: Once = Once::new();

/// Bytes of one lookaside slot and slots of a connection: 4 KiB in place of 48. Measured with the page cache
/// setting below: 32 to 41 kB an open connection in place of 154.
const LOOKASIDE: (i32, i32) = (128, 32);

/// Applies the settings; calls after the first do nothing.
pub(crate) fn configure() {
    CONFIGURED.call_once(|| {
        let applied = apply();
        if applied != ffi::SQLITE_OK {
            // SQLite was in use already: it works, with more memory a connection.
            tracing::warn!(code = applied, "SQLite's process settings were not applied");
        }
    });
}

#[expect(unsafe_code, reason = "sqlite3_config is variadic and has no safe form")]
fn apply() -> i32 {
    let none = std::ptr::null_mut::<std::ffi::c_void>();
    // SAFETY: the arguments are of the types that SQLite documents for each option; `Once` keeps two threads
    // from calling this at once, and no connection of this room exists before it has returned.
    unsafe {
        let page_cache = ffi::sqlite3_config(ffi::SQLITE_CONFIG_PAGECACHE, none, 0_i32, 0_i32);
        let lookaside = ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOOKASIDE, LOOKASIDE.0, LOOKASIDE.1);
        // Without statistics an allocation takes no process-wide lock, which all writers would share.
        let statistics = ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, 0_i32);
        page_cache | lookaside | statistics
    }
}
