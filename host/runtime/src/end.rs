//! How a turn ended, in a code and one sentence.
//!
//! Owns the reading of traps: which is a limit, which a stop, which the agent's own fault. The trace goes to the
//! agent's log, never to a client.

use podium_capabilities::limits::{HOSTCALL_BYTES_MAX, RESOURCES_MAX};
use podium_capabilities::{CallError, LimitReached, Turn};
use podium_wire::rest::LogLevel;
use podium_wire::{ErrorCode, WireError};
use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::driver::Ended;
use crate::guest::NoTurn;
use crate::stop::StopReason;

/// Frames of a trace that are kept: the rest of a deep recursion repeats them.
const FRAMES_MAX: usize = 64;
/// How the engine says that a guest holds too many handles.
const HANDLES_EXHAUSTED: &str = "store handle limit exceeded";
/// How the engine says that a call brought too many bytes.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// How a guest ended that gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Failed(WireError),
    /// The pool lacked something, through no fault of this guest: it may try again.
    NoRoom,
    HostStopped,
    /// It waits, and is dropped until then or until something comes.
    Suspended(Option<u64>),
    /// It went another way than before.
    Diverged(WireError),
}

impl From<StopReason> for End {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Interrupt => Self::Failed(WireError::new(ErrorCode::Interrupted, reason.to_string())),
            StopReason::HostStop => Self::HostStopped,
        }
    }
}

impl From<LimitReached> for End {
    fn from(limit: LimitReached) -> Self {
        Self::Failed(limit.into())
    }
}

/// Reads how a guest ended; `last_words` are the guest's, if it left any.
pub(crate) fn read(ended: Ended, last_words: &str, turn: Option<&Turn>) -> End {
    match ended {
        Ended::Stopped(reason) => reason.into(),
        Ended::Limit(limit) => limit.into(),
        Ended::Stuck => stuck(),
        Ended::Suspended(due_ns) => End::Suspended(due_ns),
        Ended::Diverged(error) => End::Diverged(error),
        Ended::Journal(error) => End::Failed(error),
        Ended::Guest(error) => trap(&error, last_words, turn),
    }
}

fn stuck() -> End {
    End::Failed(WireError::new(ErrorCode::GuestStuck, "the agent waits, and nothing it waits for can ever come"))
}

fn trap(error: &wasmtime::Error, last_words: &str, turn: Option<&Turn>) -> End {
    if let Some(reason) = error.downcast_ref::<StopReason>() {
        return (*reason).into();
    }
    if let Some(limit) = limit(error) {
        return limit.into();
    }
    // The engine notices it by itself where no host call is under way.
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::AsyncDeadlock)) {
        return stuck();
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return End::NoRoom;
    }
    if let Some(turn) = turn {
        turn.host_log(LogLevel::Error, &trace(error));
    }
    let mut message = sentence(error);
    if !last_words.is_empty() {
        message.push_str("; it last said: ");
        message.push_str(last_words);
    }
    End::Failed(WireError::new(ErrorCode::GuestTrap, message))
}

fn limit(error: &wasmtime::Error) -> Option<LimitReached> {
    if let Some(limit) = error.downcast_ref::<LimitReached>() {
        return Some(*limit);
    }
    if matches!(error.downcast_ref::<ResourceTableError>(), Some(ResourceTableError::Full)) {
        return Some(LimitReached::Resources(RESOURCES_MAX));
    }
    // The engine keeps the types of these errors to itself; a story notices when their words change.
    let said = error.root_cause().to_string();
    if said.ends_with(HANDLES_EXHAUSTED) {
        return Some(LimitReached::Resources(RESOURCES_MAX));
    }
    said.ends_with(FUEL_EXHAUSTED).then_some(LimitReached::HostCall(HOSTCALL_BYTES_MAX))
}

fn sentence(error: &wasmtime::Error) -> String {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return format!("the agent ended itself with exit code {}", exit.0);
    }
    if let Some(no_turn) = error.downcast_ref::<NoTurn>() {
        return no_turn.to_string();
    }
    if let Some(closed @ CallError::Closed) = error.downcast_ref::<CallError>() {
        return closed.to_string();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "the agent crashed (a panic or an abort)".to_owned(),
        Some(Trap::StackOverflow) => "the agent crashed: its call stack is exhausted".to_owned(),
        Some(Trap::MemoryOutOfBounds) => "the agent crashed: it used memory that it does not have".to_owned(),
        Some(trap) => format!("the agent crashed: {}", trap.to_string().trim_start_matches("wasm trap: ")),
        None => format!("the agent crashed: {}", error.root_cause()),
    }
}

/// The trace of a trap for the agent's log: its cause, then a line per frame.
fn trace(error: &wasmtime::Error) -> String {
    let mut text = format!("trap: {}", error.root_cause());
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    for frame in frames.iter().take(FRAMES_MAX) {
        let name = frame.func_name().map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
        text.push_str(&format!("\n  {name}"));
        let place = frame.symbols().iter().find_map(|symbol| Some((symbol.file()?, symbol.line()?)));
        if let Some((file, line)) = place {
            text.push_str(&format!(" at {file}:{line}"));
        }
    }
    if frames.len() > FRAMES_MAX {
        text.push_str(&format!("\n  and {} more", frames.len() - FRAMES_MAX));
    }
    text
}
