//! Running the C constructors of the component, once.
//!
//! wasi-libc learns of `/workspace` in a C constructor; without it every path call fails. Who
//! runs constructors depends on how the component was linked: with rustup's wasi-libc the start
//! code does, with other sysroots nobody does. Must never run them twice: a constructor of the
//! author's may not bear it.

#[cfg(target_arch = "wasm32")]
mod wasm {
    #![expect(unsafe_code, reason = "constructors exist at the level of the linker only")]

    use std::sync::atomic::{AtomicBool, Ordering};

    static RAN: AtomicBool = AtomicBool::new(false);

    extern "C" fn mark() {
        RAN.store(true, Ordering::Relaxed);
    }

    // A constructor like those it speaks for: whoever ran them ran this one too, so `RAN` is the
    // truth whatever the linker did.
    // SAFETY: the section holds pointers to functions of this type, and this static is one.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static MARK: extern "C" fn() = mark;

    unsafe extern "C" {
        /// Made by the linker: calls each constructor in order.
        fn __wasm_call_ctors();
    }

    pub(crate) fn run_once() {
        if !RAN.load(Ordering::Relaxed) {
            // SAFETY: the linker's function takes nothing, and `RAN` says that no constructor ran.
            unsafe { __wasm_call_ctors() };
        }
    }
}

/// Runs the constructors unless they have run. Call it at each entry of the component.
pub(crate) fn run_once() {
    #[cfg(target_arch = "wasm32")]
    wasm::run_once();
}
