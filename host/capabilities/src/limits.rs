//! The limits of a turn: every number with its reason, and what an author may ask for.
//!
//! Owns the defaults, the caps and the error of each limit. Must never lower a request silently: over the
//! cap is refused.

use std::time::Duration;

use podium_wire::limits::{LimitsInForce, LimitsRequest};
use podium_wire::{ErrorCode, WireError};

use crate::ask;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Linear memory of one guest unless asked otherwise: room for a Rust or JavaScript agent with its data.
pub const MEMORY_BYTES_DEFAULT: u64 = 64 * MIB;
/// Most linear memory of one guest: a slot of the engine's pool reserves this much address space.
pub const MEMORY_BYTES_CAP: u64 = 256 * MIB;
/// Time of a turn without waiting: a person waits for the answer.
pub const WALL_DEFAULT: Duration = Duration::from_secs(60);
/// Longest time of a turn without waiting: a long job of tools and models.
pub const WALL_CAP: Duration = Duration::from_secs(60 * 60);
/// Processor time of a turn: agents wait for others, they seldom compute.
pub const CPU_DEFAULT: Duration = Duration::from_secs(10);
/// Most processor time of a turn: one agent may not take a core for longer.
pub const CPU_CAP: Duration = Duration::from_secs(600);
/// Time a turn may wait for people and timers: over a week nobody answers any more.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Longest such wait: a waiting turn pins its component and configuration.
pub const WAIT_CAP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Output held until the cut: it is one row batch of the commit and the ring that clients resume from.
pub const OUTPUT_BYTES_DEFAULT: u64 = 4 * MIB;
/// Most output held until the cut.
pub const OUTPUT_BYTES_CAP: u64 = 64 * MIB;
/// Updates of a turn: more than a client can show.
pub const UPDATES_DEFAULT: u64 = 100_000;
/// Most updates of a turn.
pub const UPDATES_CAP: u64 = 1_000_000;
/// The state as compact JSON: it is loaded whole for each turn.
pub const STATE_BYTES_DEFAULT: u64 = MIB;
/// Largest state: beyond it data belongs into files.
pub const STATE_BYTES_CAP: u64 = 16 * MIB;
/// Objects and arrays within each other in a state: every reader of it recurses.
pub const STATE_DEPTH_MAX: usize = 64;
/// Operations of one patch: it is applied in one go.
pub const PATCH_OPERATIONS_MAX: usize = 10_000;
/// Open files and folders of a guest: the descriptors of the host are shared by all guests.
pub const OPEN_HANDLES_DEFAULT: u64 = 256;
/// Most open files and folders of a guest.
pub const OPEN_HANDLES_CAP: u64 = 4_096;
/// Messages that may wait: beyond it the sender should slow down.
pub const INBOX_DEFAULT: u64 = 64;
/// Most messages that may wait.
pub const INBOX_CAP: u64 = 1_024;

/// Host calls of one turn that may wait at once: each holds a future of the host.
pub const CALLS_IN_FLIGHT_MAX: usize = 256;
/// Entries of a guest's table of host resources: each is host memory.
pub const RESOURCES_MAX: usize = 10_000;
/// Bytes that one host call may copy into the host, as the engine counts them: a guest's list length is
/// never trusted.
pub const HOSTCALL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Log of a turn; what comes after is dropped and counted.
pub const LOG_BYTES_MAX: u64 = MIB;

/// Steers of one turn that wait for the agent or that it is taking in: each such hook holds memory of the guest.
pub const STEERS_PENDING_MAX: usize = 32;
/// Steers of one turn in all: each is a row that its cut consumes, and all are given again after a crash.
pub const STEERS_MAX: usize = 256;
/// Bytes of all steers of one turn, as JSON: held in memory until the cut, as its output is.
pub const STEER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The limits of a turn, every one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the guest in bytes, all its memories together.
    pub memory_bytes: u64,
    /// Time of the turn, waiting for people and timers not counted.
    pub wall: Duration,
    /// Processor time of the turn.
    pub cpu: Duration,
    /// Time the turn may wait in all.
    pub wait: Duration,
    /// Output held until the cut, bytes.
    pub output_bytes: u64,
    /// Updates of the turn.
    pub updates: u64,
    /// The state document as compact JSON, bytes.
    pub state_bytes: u64,
    /// Open files and folders of the guest.
    pub open_handles: u64,
    /// Messages that may wait in the inbox.
    pub inbox: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: MEMORY_BYTES_DEFAULT,
            wall: WALL_DEFAULT,
            cpu: CPU_DEFAULT,
            wait: WAIT_DEFAULT,
            output_bytes: OUTPUT_BYTES_DEFAULT,
            updates: UPDATES_DEFAULT,
            state_bytes: STATE_BYTES_DEFAULT,
            open_handles: OPEN_HANDLES_DEFAULT,
            inbox: INBOX_DEFAULT,
        }
    }
}

/// A limit that an author may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`limits.{name}` is {asked}; it must be from 1 to {cap}")]
pub struct LimitError {
    /// The name in agent.toml.
    pub name: &'static str,
    /// What was asked for.
    pub asked: u64,
    /// The most there is.
    pub cap: u64,
}

impl Limits {
    /// The limits that an author asks for, defaults where nothing is said.
    ///
    /// # Errors
    /// The first limit that is zero or above its cap.
    pub fn resolve(request: &LimitsRequest) -> Result<Self, LimitError> {
        let pick = |name, asked: Option<u64>, default, cap| match asked {
            None => Ok(default),
            Some(asked) if (1..=cap).contains(&asked) => Ok(asked),
            Some(asked) => Err(LimitError { name, asked, cap }),
        };
        let pick_ms = |name, asked, default: Duration, cap: Duration| {
            pick(name, asked, millis(default), millis(cap)).map(Duration::from_millis)
        };
        Ok(Self {
            memory_bytes: pick("memory_bytes", request.memory_bytes, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_CAP)?,
            wall: pick_ms("wall_ms", request.wall_ms, WALL_DEFAULT, WALL_CAP)?,
            cpu: pick_ms("cpu_ms", request.cpu_ms, CPU_DEFAULT, CPU_CAP)?,
            wait: pick_ms("wait_ms", request.wait_ms, WAIT_DEFAULT, WAIT_CAP)?,
            output_bytes: pick("output_bytes", request.output_bytes, OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_CAP)?,
            updates: pick("updates", request.updates, UPDATES_DEFAULT, UPDATES_CAP)?,
            state_bytes: pick("state_bytes", request.state_bytes, STATE_BYTES_DEFAULT, STATE_BYTES_CAP)?,
            open_handles: pick("open_handles", request.open_handles, OPEN_HANDLES_DEFAULT, OPEN_HANDLES_CAP)?,
            inbox: pick("inbox", request.inbox, INBOX_DEFAULT, INBOX_CAP)?,
        })
    }
}

impl From<&Limits> for LimitsInForce {
    fn from(limits: &Limits) -> Self {
        // No count of this host is larger than 64 bits.
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            memory_bytes: limits.memory_bytes,
            wall_ms: millis(limits.wall),
            cpu_ms: millis(limits.cpu),
            wait_ms: millis(limits.wait),
            output_bytes: limits.output_bytes,
            updates: limits.updates,
            state_bytes: limits.state_bytes,
            open_handles: limits.open_handles,
            inbox: limits.inbox,
            state_depth: wide(STATE_DEPTH_MAX),
            patch_operations: wide(PATCH_OPERATIONS_MAX),
            calls_in_flight: wide(CALLS_IN_FLIGHT_MAX),
            resources: wide(RESOURCES_MAX),
            call_bytes: wide(HOSTCALL_BYTES_MAX),
            log_bytes: LOG_BYTES_MAX,
            open_asks: wide(ask::OPEN_ASKS_MAX),
            ask_options: wide(ask::ASK_OPTIONS_MAX),
            ask_bytes: wide(ask::ASK_BYTES_MAX),
            answer_bytes: wide(ask::ANSWER_BYTES_MAX),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A limit that ends the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitReached {
    /// Linear memory.
    #[error("the agent asked for more than its {0} bytes of memory")]
    Memory(u64),
    /// Processor time.
    #[error("the agent used more than its {} ms of processor time", millis(*.0))]
    Cpu(Duration),
    /// Time of the turn.
    #[error("the turn took longer than its {} ms", millis(*.0))]
    Wall(Duration),
    /// Waiting time of the turn.
    #[error("the turn waited longer than its {} ms", millis(*.0))]
    Wait(Duration),
    /// Output held until the cut.
    #[error("the turn's output is larger than its {0} bytes")]
    Output(u64),
    /// Number of updates.
    #[error("the turn has more than its {0} updates")]
    Updates(u64),
    /// Open files and folders.
    #[error("the agent holds more than its {0} open files and folders")]
    Handles(u64),
    /// Open files and folders of all agents.
    #[error("the agents of this host hold all {0} open files that it has for them")]
    HostHandles(u64),
    /// Host resources and engine tables.
    #[error("the agent holds more host resources than it may")]
    Table,
    /// Bytes of one host call.
    #[error("one call of the agent brought more than {0} bytes into the host")]
    HostCall(usize),
}

impl LimitReached {
    /// The code of a turn that ended by it.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Memory(_) => ErrorCode::MemoryLimit,
            Self::Cpu(_) => ErrorCode::CpuLimit,
            Self::Wall(_) => ErrorCode::WallLimit,
            Self::Wait(_) => ErrorCode::WaitLimit,
            Self::Output(_) => ErrorCode::OutputLimit,
            Self::Updates(_) => ErrorCode::UpdatesLimit,
            Self::Handles(_) | Self::HostHandles(_) => ErrorCode::HandleLimit,
            Self::Table => ErrorCode::TableLimit,
            Self::HostCall(_) => ErrorCode::HostCallLimit,
        }
    }
}

impl From<LimitReached> for WireError {
    fn from(limit: LimitReached) -> Self {
        WireError::new(limit.code(), limit.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number as the guide writes it.
    fn shown(number: u64) -> String {
        let digits = number.to_string();
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|group| std::str::from_utf8(group).expect("digits are text"))
            .collect();
        groups.join(",")
    }

    #[test]
    fn the_guide_has_these_numbers_and_no_others() {
        let guide = include_str!("../../../docs/guide/limits.md");
        let settable = [
            ("memory_bytes", MEMORY_BYTES_DEFAULT, MEMORY_BYTES_CAP),
            ("cpu_ms", millis(CPU_DEFAULT), millis(CPU_CAP)),
            ("wall_ms", millis(WALL_DEFAULT), millis(WALL_CAP)),
            ("wait_ms", millis(WAIT_DEFAULT), millis(WAIT_CAP)),
            ("output_bytes", OUTPUT_BYTES_DEFAULT, OUTPUT_BYTES_CAP),
            ("updates", UPDATES_DEFAULT, UPDATES_CAP),
            ("state_bytes", STATE_BYTES_DEFAULT, STATE_BYTES_CAP),
            ("open_handles", OPEN_HANDLES_DEFAULT, OPEN_HANDLES_CAP),
            ("inbox", INBOX_DEFAULT, INBOX_CAP),
        ];
        let fixed = [
            ("depth of the state", STATE_DEPTH_MAX as u64),
            ("operations of a patch", PATCH_OPERATIONS_MAX as u64),
            ("host calls that wait at once", CALLS_IN_FLIGHT_MAX as u64),
            ("host resources held", RESOURCES_MAX as u64),
            ("bytes of one host call", HOSTCALL_BYTES_MAX as u64),
            ("log of a turn, bytes", LOG_BYTES_MAX),
            ("steers of a turn that wait", STEERS_PENDING_MAX as u64),
            ("steers of a turn", STEERS_MAX as u64),
            ("bytes of a turn's steers", STEER_BYTES_MAX as u64),
            ("questions open at once", ask::OPEN_ASKS_MAX as u64),
            ("options of a question", ask::ASK_OPTIONS_MAX as u64),
            ("bytes of a question", ask::ASK_BYTES_MAX as u64),
            ("bytes of an answer", ask::ANSWER_BYTES_MAX as u64),
        ];
        let rows = settable
            .iter()
            .map(|(name, default, cap)| format!("| `{name}` | {} | {} | ", shown(*default), shown(*cap)));
        let rows: Vec<String> =
            rows.chain(fixed.iter().map(|(name, value)| format!("| {name} | {} | ", shown(*value)))).collect();
        for row in &rows {
            assert!(guide.lines().any(|line| line.starts_with(row)), "docs/guide/limits.md has no row `{row}`");
        }
        // Each table has a line of titles and one of dashes besides.
        assert_eq!(guide.lines().filter(|line| line.starts_with('|')).count(), rows.len() + 4);
    }

    #[test]
    fn nothing_asked_is_the_default() {
        assert_eq!(Limits::resolve(&LimitsRequest::default()), Ok(Limits::default()));
    }

    #[test]
    fn the_cap_is_given_one_more_and_zero_are_refused() {
        let ask = |memory_bytes| LimitsRequest { memory_bytes: Some(memory_bytes), ..LimitsRequest::default() };
        assert_eq!(Limits::resolve(&ask(MEMORY_BYTES_CAP)).map(|l| l.memory_bytes), Ok(MEMORY_BYTES_CAP));
        for asked in [0, MEMORY_BYTES_CAP + 1, u64::MAX] {
            let refused = Limits::resolve(&ask(asked));
            assert_eq!(refused, Err(LimitError { name: "memory_bytes", asked, cap: MEMORY_BYTES_CAP }));
        }
        let long = LimitsRequest { wall_ms: Some(3_600_001), ..LimitsRequest::default() };
        let refused = Limits::resolve(&long).expect_err("over the cap").to_string();
        assert_eq!(refused, "`limits.wall_ms` is 3600001; it must be from 1 to 3600000");
    }
}
