//! Waiting for time to pass without blocking the guest.
//!
//! Owns the one import of WASI 0.3's clock: a component imports it only when it sleeps. Must
//! never block: `std::thread::sleep` would keep steering out.

// Each interface is said whole: an agent may bring other bindings to WASI 0.3, and the linker puts both together.
#[allow(dead_code, reason = "one function of the interface is called")]
mod bindings {
    wit_bindgen::generate!({
        world: "timer",
        inline: "
            package podium:sdk-timer;
            world timer { import wasi:clocks/monotonic-clock@0.3.0; }
            package wasi:clocks@0.3.0 {
                interface types { type duration = u64; }
                interface monotonic-clock {
                    use types.{duration};
                    type mark = u64;
                    now: func() -> mark;
                    get-resolution: func() -> duration;
                    wait-until: async func(when: mark);
                    wait-for: async func(how-long: duration);
                }
            }
        ",
        generate_all,
        type_section_suffix: "timer",
    });
}

/// Returns after this time of the turn's clock.
pub(crate) async fn wait_for(duration: std::time::Duration) {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    bindings::wasi::clocks::monotonic_clock::wait_for(nanoseconds).await;
}
