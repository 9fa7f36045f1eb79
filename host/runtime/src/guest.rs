//! What a store holds for one guest, and how a store is made.
//!
//! Everything of a turn comes in with its [`GuestParts`]. A guest that is kept warm gets new parts for each turn, and has
//! none while it rests: only its own memory and its open handles outlive a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use podium_capabilities::limits::{HOSTCALL_BYTES_MAX, RESOURCES_MAX, TABLE_ELEMENTS_MAX};
use podium_capabilities::workspace::Quota;
use podium_capabilities::{LimitReached, Limits, Turn};
use podium_chronicle::ChronicleError;
use podium_kit::descriptors::Part;
use wasmtime::component::{HasData, ResourceTable};
use wasmtime::{Engine, ResourceLimiter, Store, UpdateDeadline};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::gate::Gate;
use crate::host::random::TurnRandom;
use crate::host::stdio::Stdio;
use crate::host::workspace::{Nowhere, Workspace};
use crate::meter::Meter;
use crate::stop::StopWatcher;

/// Entries of the engine's own table of streams, futures and calls: an end that the guest holds has three at most (the thing and
/// its two ends), and what is under way in the host has some more.
const CONCURRENT_ENTRIES_MAX: usize = 4 * RESOURCES_MAX;

/// Names the guest's state to the linker.
pub(crate) struct Guest;

impl HasData for Guest {
    type Data<'a> = &'a mut GuestState;
}

/// The turn a guest runs in, or none of it: `describe` has no turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`describe` may not call `{0}`: it has no turn")]
pub(crate) struct NoTurn(pub(crate) &'static str);

/// What a guest's host functions work on.
pub(crate) struct GuestState {
    turn: Option<Turn>,
    pub(crate) gate: Gate,
    pub(crate) table: ResourceTable,
    pub(crate) random: TurnRandom,
    pub(crate) stdio: Stdio,
    pub(crate) open_handles: u64,
    wasi: WasiCtx,
    files: WasiFilesystemCtx,
    pub(crate) workspace: Option<Workspace>,
    uses_files: Arc<AtomicBool>,
    memory: MemoryLimit,
    meter: Arc<Meter>,
    stop: StopWatcher,
    /// The latest time that the guest has seen in turns before.
    seen_ns: u64,
}

/// What a store is made from.
pub(crate) struct GuestParts<'a> {
    pub(crate) turn: Option<Turn>,
    pub(crate) gate: Gate,
    pub(crate) stdio: Stdio,
    pub(crate) limits: Limits,
    pub(crate) uses_files: Arc<AtomicBool>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) stop: StopWatcher,
    pub(crate) nowhere: &'a Nowhere,
    pub(crate) files: &'a Part,
}

/// Makes a store for one guest.
pub(crate) fn store(engine: &Engine, parts: GuestParts<'_>) -> Store<GuestState> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    let spec = parts.turn.as_ref().map(Turn::spec);
    let state = GuestState {
        random: TurnRandom::new(spec.map_or([0; 32], |spec| spec.seed)),
        workspace: spec.map(|spec| Workspace::new(spec.workspace.clone(), parts.nowhere, parts.files)),
        files: if spec.is_some() { parts.nowhere.view() } else { WasiFilesystemCtx::default() },
        wasi: wasi(&parts.stdio).build(),
        gate: parts.gate,
        table,
        stdio: parts.stdio,
        open_handles: parts.limits.open_handles,
        uses_files: parts.uses_files,
        memory: MemoryLimit { limit: parts.limits.memory_bytes, used: 0 },
        meter: parts.meter,
        stop: parts.stop,
        seen_ns: 0,
        turn: parts.turn,
    };
    let mut store = Store::new(engine, state);
    store.set_hostcall_fuel(HOSTCALL_BYTES_MAX);
    store.set_max_component_handles(RESOURCES_MAX);
    if let Some(table) = store.concurrent_resource_table() {
        table.set_max_capacity(CONCURRENT_ENTRIES_MAX);
    }
    store.limiter(|state| &mut state.memory);
    // Each tick makes a running guest yield, and ends one that is over its time or is not wanted any more.
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| {
        let state = context.data();
        if let Some(reason) = state.stop.reason() {
            return Err(reason.into());
        }
        if state.meter.is_over_now() {
            return Err(LimitReached::Cpu(state.meter.limit()).into());
        }
        state.meter.count_yield();
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

/// WASI that grants nothing: no arguments, environment, input, network or files.
fn wasi(stdio: &Stdio) -> wasmtime_wasi::WasiCtxBuilder {
    let mut builder = WasiCtx::builder();
    builder
        .stdout(stdio.stdout())
        .stderr(stdio.stderr())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        // Guests run on threads that may block.
        .allow_blocking_current_thread(true);
    builder
}

impl GuestState {
    /// The turn.
    pub(crate) fn turn(&self, call: &'static str) -> Result<&Turn, NoTurn> {
        self.turn.as_ref().ok_or(NoTurn(call))
    }

    /// The guest's time, nanoseconds since the Unix epoch; `describe` has none.
    pub(crate) fn now_ns(&self) -> u64 {
        self.turn.as_ref().map_or(0, |turn| turn.clock().now_ns())
    }

    /// What the guest may know of a time of the host's clock.
    pub(crate) fn shown_ns(&self, at_ns: u64) -> u64 {
        self.turn.as_ref().map_or(0, |turn| turn.clock().shown_ns(at_ns))
    }

    /// Ends the turn for a guest that is kept: from here on it has none.
    pub(crate) fn rest(&mut self) {
        self.seen_ns = self.seen_ns.max(self.now_ns());
        if let Some(recorder) = self.workspace.as_mut().and_then(Workspace::recorder) {
            recorder.sweep();
        }
        self.turn = None;
        self.gate = Gate::default();
        self.stdio.rebind(None);
    }

    /// Begins the next turn in a guest that was kept: everything of the turn is new. Outputs that the guest holds open write
    /// to the new turn; its time goes on from where it was.
    pub(crate) fn resume(&mut self, parts: GuestParts<'_>) {
        if let Some(turn) = &parts.turn {
            turn.clock().deliver(self.seen_ns, turn.host_clock().now_ns());
            self.random = TurnRandom::new(turn.spec().seed);
        }
        self.stdio.rebind(parts.turn.as_ref());
        if let Some(workspace) = &mut self.workspace {
            workspace.begin_turn();
        }
        self.gate = parts.gate;
        self.open_handles = parts.limits.open_handles;
        self.memory.limit = parts.limits.memory_bytes;
        self.meter = parts.meter;
        self.stop = parts.stop;
        // An operation on files that the turn before has opened may still wake the guest.
        parts.uses_files.fetch_or(self.uses_files.load(Ordering::Acquire), Ordering::AcqRel);
        self.uses_files = parts.uses_files;
        self.turn = parts.turn;
    }

    /// The limit of the host that kept the guest from its files, if one did.
    pub(crate) fn refused_files(&self) -> Option<LimitReached> {
        let workspace = self.workspace.as_ref().filter(|workspace| workspace.was_refused())?;
        Some(LimitReached::HostHandles(workspace.part()))
    }

    /// Bytes of the guest's linear memories.
    pub(crate) fn memory_used(&self) -> u64 {
        self.memory.used
    }

    /// The files without any of them being used.
    pub(crate) fn files(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.files, table: &mut self.table }
    }

    /// Opens the workspace for a call that uses a file. Before the first such call it has cost nothing.
    pub(crate) fn use_files(&mut self) {
        if let Some(workspace) = &mut self.workspace
            && workspace.is_to_be_opened()
        {
            self.uses_files.store(true, Ordering::Release);
            if let Err(error) = workspace.open(&mut self.table) {
                let instance = self.turn.as_ref().map(|turn| turn.spec().instance.to_string());
                tracing::warn!(instance, %error, "a workspace cannot be opened; its agent finds it empty");
            }
        }
    }

    /// Opens the workspace for a call that comes without a handle, and gives the count of what it may hold; none when the host has no descriptor
    /// left for it.
    pub(crate) fn open_workspace(&mut self) -> Result<Option<Quota>, ChronicleError> {
        let Some(workspace) = &mut self.workspace else { return Ok(None) };
        if workspace.is_unready() {
            self.uses_files.store(true, Ordering::Release);
            workspace.open(&mut self.table)?;
        }
        Ok(workspace.quota().cloned())
    }

    /// The files, for a call that uses one.
    pub(crate) fn used_files(&mut self) -> WasiFilesystemCtxView<'_> {
        self.use_files();
        self.files()
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Counts the linear memory of all of a guest's memories.
struct MemoryLimit {
    limit: u64,
    used: u64,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current) as u64);
        // An error, not a refusal: a guest that is told "no" goes on with half of its work done.
        if used > self.limit {
            return Err(LimitReached::Memory(self.limit).into());
        }
        self.used = used;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS_MAX {
            return Err(LimitReached::TableElements(TABLE_ELEMENTS_MAX).into());
        }
        Ok(true)
    }
}
