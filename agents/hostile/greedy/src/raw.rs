//! Imports, returns and memory as the canonical ABI sees them: pointers and lengths, which may be lies.
//!
//! Owns every unsafe line of this agent. Off wasm, where unit tests are compiled, each does nothing.

#[cfg(target_arch = "wasm32")]
mod abi {
    #[link(wasm_import_module = "podium:agent/log@0.1.0")]
    unsafe extern "C" {
        #[link_name = "write"]
        pub(super) fn log_write(
            level: i32,
            module: *const u8,
            module_len: usize,
            message: *const u8,
            message_len: usize,
            has_fields: i32,
            fields: *const u8,
            fields_len: usize,
        );
    }

    #[link(wasm_import_module = "[export]podium:agent/lifecycle@0.1.0")]
    unsafe extern "C" {
        #[link_name = "[task-return]on-message"]
        pub(super) fn answer(
            is_error: i32,
            code: *const u8,
            code_len: usize,
            message: *const u8,
            message_len: usize,
            has_hint: i32,
            hint: *const u8,
            hint_len: usize,
            retryable: i32,
        );
    }
}

/// Logs a message that begins at 0 and is this long, whatever memory there is.
#[cfg(target_arch = "wasm32")]
pub(crate) fn log(len: usize) {
    // SAFETY: none for this guest; the host must find out that the list is not in the guest's memory.
    unsafe { abi::log_write(2, "m".as_ptr(), 1, std::ptr::null(), len, 0, std::ptr::null(), 0) }
}

/// Ends the turn with an error whose texts begin at 0 and are this long.
#[cfg(target_arch = "wasm32")]
pub(crate) fn fail(len: usize) {
    let start = std::ptr::null();
    // SAFETY: none for this guest; see above.
    unsafe { abi::answer(1, start, len, start, len, 0, start, 0, 0) }
}

/// Asks for so many pages of memory; the largest number when they are refused.
#[cfg(target_arch = "wasm32")]
pub(crate) fn grow(pages: usize) -> usize {
    core::arch::wasm32::memory_grow::<0>(pages)
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn log(_: usize) {}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn fail(_: usize) {}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn grow(_: usize) -> usize {
    usize::MAX
}
