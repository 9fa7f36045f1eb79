//! `wasi:clocks`, both versions: the turn clock, and timers that are released through the gate.
//!
//! A guest's time stands still while it runs, so a timer counts from the moment of its call in real time, and
//! the guest sees at least its due time when it fires. Nothing here may read a clock of its own.

use std::time::Duration;

use wasmtime::component::{Accessor, Resource};
use wasmtime_wasi::p2::bindings::clocks as p2;
use wasmtime_wasi::p3::bindings::clocks as p3;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::{DynPollable, Pollable, subscribe};

use futures_util::FutureExt;
use podium_capabilities::LimitReached;
use podium_capabilities::effect::{EffectKind, Unread};
use podium_capabilities::journal::Recorded;
use podium_capabilities::limits::CALLS_IN_FLIGHT_MAX;

use crate::gate::{Answer, Waits};
use crate::guest::{Guest, GuestState};
use crate::host::value;

pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Each read of the clock is this much later than the one before.
const RESOLUTION_NS: u64 = 1;

/// A timer that fires once and stays fired.
struct Timer(Option<Answer<()>>);

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if let Some(answer) = &mut self.0 {
            answer.await;
            self.0 = None;
        }
    }
}

impl GuestState {
    /// A timer from now on, in the guest's time; none when it is due already.
    fn timer(&mut self, duration_ns: u64) -> wasmtime::Result<Option<Answer<()>>> {
        if duration_ns == 0 {
            return Ok(None);
        }
        let due_ns = self.now_ns().saturating_add(duration_ns);
        let turn = self.turn("timers")?;
        let call = value(turn.call(EffectKind::read("timer"), &due_ns))?;
        let duration = Duration::from_nanos(duration_ns);
        // One that was set before fires when it would have, which may be at once.
        let (host, until) = (turn.host_clock().clone(), call.is_again().then_some(due_ns));
        let began = host.monotonic();
        let sleep = async move {
            let left = match until {
                Some(due_ns) => Duration::from_nanos(due_ns.saturating_sub(host.now_ns())),
                None => duration.saturating_sub(host.monotonic().saturating_sub(began)),
            };
            if !left.is_zero() {
                tokio::time::sleep(left).await;
            }
        };
        // Timers have no typed error, so one more than may wait ends the guest.
        let sleep = turn.effect(&call, sleep).map_err(|_| LimitReached::Timers(CALLS_IN_FLIGHT_MAX))?;
        // A timer brings nothing: one that has fired holds no more than its handle.
        let waiting = call.waits_for(sleep.map(Unread::read), |()| Recorded::Again, drop);
        Ok(Some(self.gate.wait(Waits::ForOutside, due_ns, waiting)))
    }

    fn subscribe_timer(&mut self, duration_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = Timer(self.timer(duration_ns)?);
        let timer = self.table.push(timer)?;
        subscribe(&mut self.table, timer)
    }
}

impl p2::wall_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<p2::wall_clock::Datetime> {
        let now = self.now_ns();
        Ok(p2::wall_clock::Datetime {
            seconds: now / NANOS_PER_SECOND,
            nanoseconds: u32::try_from(now % NANOS_PER_SECOND)?,
        })
    }

    fn resolution(&mut self) -> wasmtime::Result<p2::wall_clock::Datetime> {
        Ok(p2::wall_clock::Datetime { seconds: 0, nanoseconds: u32::try_from(RESOLUTION_NS)? })
    }
}

impl p2::monotonic_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let left = when.saturating_sub(self.now_ns());
        self.subscribe_timer(left)
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_timer(duration)
    }
}

impl p3::types::Host for GuestState {}

impl p3::system_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<p3::system_clock::Instant> {
        let now = self.now_ns();
        Ok(p3::system_clock::Instant {
            seconds: i64::try_from(now / NANOS_PER_SECOND)?,
            nanoseconds: u32::try_from(now % NANOS_PER_SECOND)?,
        })
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION_NS)
    }
}

impl p3::monotonic_clock::Host for GuestState {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.now_ns())
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION_NS)
    }
}

impl<T: Send> p3::monotonic_clock::HostWithStore<T> for Guest {
    async fn wait_until(store: &Accessor<T, Self>, when: u64) -> wasmtime::Result<()> {
        let timer = store.with(|mut access| {
            let state = access.get();
            let left = when.saturating_sub(state.now_ns());
            state.timer(left)
        })?;
        fire(timer).await
    }

    async fn wait_for(store: &Accessor<T, Self>, duration: u64) -> wasmtime::Result<()> {
        fire(store.with(|mut access| access.get().timer(duration))?).await
    }
}

async fn fire(timer: Option<Answer<()>>) -> wasmtime::Result<()> {
    if let Some(timer) = timer {
        timer.await;
    }
    Ok(())
}
