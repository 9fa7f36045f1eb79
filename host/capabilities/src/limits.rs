//! The limits of a turn: every number with its reason, and what an author may ask for.
//!
//! Owns the defaults, the caps and the error of each limit. Must never lower a request silently: over the
//! cap is refused.

use std::time::Duration;

use podium_wire::frames::FRAME_BYTES_MAX;
use podium_wire::limits::{COMPONENT_BYTES_MAX, LimitsInForce, LimitsRequest};
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

/// All files of a workspace: an agent's documents and code, with room.
pub const WORKSPACE_BYTES_DEFAULT: u64 = 1024 * MIB;
/// Most bytes of a workspace's files: a scan after a crash reads no more in a minute.
pub const WORKSPACE_BYTES_CAP: u64 = 16 * 1024 * MIB;
/// Entries of a workspace: a large repository with what it builds.
pub const WORKSPACE_ENTRIES_DEFAULT: u64 = 200_000;
/// Most entries of a workspace: a scan after a crash looks at each.
pub const WORKSPACE_ENTRIES_CAP: u64 = 1_000_000;
/// Folders within each other: as deep as a version can have them.
pub const WORKSPACE_DEPTH_CAP: u64 = podium_chronicle::limits::DEPTH_MAX as u64;
/// The largest file of a version unless asked otherwise.
pub const WORKSPACE_FILE_BYTES_DEFAULT: u64 = podium_chronicle::limits::FILE_BYTES_DEFAULT;
/// The largest file that a version can have.
pub const WORKSPACE_FILE_BYTES_CAP: u64 = podium_chronicle::limits::FILE_BYTES_MAX;
/// Bytes of an entry's path on average; a workspace may have as many of them as entries. They are held in memory.
const PATH_BYTES_AVERAGE: u64 = 320;

/// Bytes that one call of `workspace` reads or writes: they lie in the host and in the guest's memory whole, and a file that is larger
/// comes in pieces.
pub const WORKSPACE_CALL_BYTES_MAX: u32 = 1024 * 1024;
/// Entries of a folder that one call of `workspace` lists, for the same reason: names of 255 bytes each are a quarter of a MiB.
pub const WORKSPACE_LIST_MAX: u32 = 1_000;
/// Iterations of a path that one call of `workspace` tells of.
pub const WORKSPACE_ITERATIONS_MAX: u32 = 200;
/// Files that one comparison of `workspace` names, which has no pages; how many further ones there are is counted.
pub const WORKSPACE_CHANGES_MAX: usize = 1_000;
/// Versions that one attempt of a turn makes before its end: each costs the disk as a cut does.
pub const WORKSPACE_STEPS_MAX: u64 = 1_000;

/// Host calls of one turn that may wait at once: each holds a future of the host.
pub const CALLS_IN_FLIGHT_MAX: usize = 256;
/// Bytes of answers of one turn that have come and that its guest has not read: until then they are host memory. Room for
/// several pages of the history at once; one answer that is larger comes alone.
pub const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries of a guest's table of host resources: each is host memory.
pub const RESOURCES_MAX: usize = 10_000;
/// Elements of one table of the engine: the largest seen in a real component (C#, debug) are over 10,000.
pub const TABLE_ELEMENTS_MAX: usize = 20_000;
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
    /// All files of the workspace together, bytes.
    pub workspace_bytes: u64,
    /// Files, folders and links of the workspace.
    pub workspace_entries: u64,
    /// Folders within each other that versions of the workspace have.
    pub workspace_depth: u64,
    /// The largest file that versions of the workspace have, bytes.
    pub workspace_file_bytes: u64,
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
            workspace_bytes: WORKSPACE_BYTES_DEFAULT,
            workspace_entries: WORKSPACE_ENTRIES_DEFAULT,
            workspace_depth: WORKSPACE_DEPTH_CAP,
            workspace_file_bytes: WORKSPACE_FILE_BYTES_DEFAULT,
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
            workspace_bytes: pick(
                "workspace_bytes",
                request.workspace_bytes,
                WORKSPACE_BYTES_DEFAULT,
                WORKSPACE_BYTES_CAP,
            )?,
            workspace_entries: pick(
                "workspace_entries",
                request.workspace_entries,
                WORKSPACE_ENTRIES_DEFAULT,
                WORKSPACE_ENTRIES_CAP,
            )?,
            workspace_depth: pick(
                "workspace_depth",
                request.workspace_depth,
                WORKSPACE_DEPTH_CAP,
                WORKSPACE_DEPTH_CAP,
            )?,
            workspace_file_bytes: pick(
                "workspace_file_bytes",
                request.workspace_file_bytes,
                WORKSPACE_FILE_BYTES_DEFAULT,
                WORKSPACE_FILE_BYTES_CAP,
            )?,
        })
    }

    /// Those of the workspace and its history, which may be twice as large.
    pub fn workspace(&self) -> podium_chronicle::Limits {
        podium_chronicle::Limits {
            workspace_bytes: self.workspace_bytes,
            workspace_entries: self.workspace_entries,
            workspace_path_bytes: self.workspace_entries.saturating_mul(PATH_BYTES_AVERAGE),
            depth: usize::try_from(self.workspace_depth).unwrap_or(usize::MAX),
            file_bytes: self.workspace_file_bytes,
            store_bytes: self.workspace_bytes.saturating_mul(2),
        }
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
            workspace_bytes: limits.workspace_bytes,
            workspace_entries: limits.workspace_entries,
            workspace_depth: limits.workspace_depth,
            workspace_file_bytes: limits.workspace_file_bytes,
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
            table_elements: wide(TABLE_ELEMENTS_MAX),
            steers_pending: wide(STEERS_PENDING_MAX),
            steers: wide(STEERS_MAX),
            steer_bytes: wide(STEER_BYTES_MAX),
            frame_bytes: wide(FRAME_BYTES_MAX),
            component_bytes: COMPONENT_BYTES_MAX,
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
    /// Entries of the guest's table of host resources.
    #[error("the agent holds more than its {0} host resources")]
    Resources(usize),
    /// Elements of a table of the engine.
    #[error("the agent grew a table beyond its {0} elements")]
    TableElements(usize),
    /// Timers, among the host calls that wait at once.
    #[error("the agent set one more timer than the {0} calls that may wait at once")]
    Timers(usize),
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
            Self::Resources(_) | Self::TableElements(_) | Self::Timers(_) => ErrorCode::TableLimit,
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
    fn the_guide_and_the_host_show_these_numbers_and_no_others() {
        let guide = include_str!("../../../docs/guide/limits.md");
        let fixed = [
            ("state_depth", "depth of the state", STATE_DEPTH_MAX as u64),
            ("patch_operations", "operations of a patch", PATCH_OPERATIONS_MAX as u64),
            ("calls_in_flight", "host calls that wait at once", CALLS_IN_FLIGHT_MAX as u64),
            ("resources", "host resources held", RESOURCES_MAX as u64),
            ("table_elements", "elements of a table of the engine", TABLE_ELEMENTS_MAX as u64),
            ("call_bytes", "bytes of one host call", HOSTCALL_BYTES_MAX as u64),
            ("log_bytes", "log of a turn, bytes", LOG_BYTES_MAX),
            ("steers_pending", "steers of a turn that wait", STEERS_PENDING_MAX as u64),
            ("steers", "steers of a turn", STEERS_MAX as u64),
            ("steer_bytes", "bytes of a turn's steers", STEER_BYTES_MAX as u64),
            ("open_asks", "questions open at once", ask::OPEN_ASKS_MAX as u64),
            ("ask_options", "options of a question", ask::ASK_OPTIONS_MAX as u64),
            ("ask_bytes", "bytes of a question", ask::ASK_BYTES_MAX as u64),
            ("answer_bytes", "bytes of an answer", ask::ANSWER_BYTES_MAX as u64),
            ("frame_bytes", "bytes of a message as it comes in", FRAME_BYTES_MAX as u64),
            ("component_bytes", "bytes of a component", COMPONENT_BYTES_MAX),
        ];
        let own = SETTABLE.iter().map(|own| {
            (own.name, own.default, format!("| `{}` | {} | {} | ", own.name, shown(own.default), shown(own.cap)))
        });
        let same = fixed.iter().map(|(key, row, value)| (*key, *value, format!("| {row} | {} | ", shown(*value))));
        let all: Vec<_> = own.chain(same).collect();
        for (_, _, row) in &all {
            assert!(guide.lines().any(|line| line.starts_with(row)), "docs/guide/limits.md has no row `{row}`");
        }
        // Each table has a line of titles and one of dashes besides.
        assert_eq!(guide.lines().filter(|line| line.starts_with('|')).count(), all.len() + 4);
        let in_force = serde_json::to_value(LimitsInForce::from(&Limits::default())).expect("is written");
        let rows: serde_json::Map<_, _> =
            all.iter().map(|(key, value, _)| ((*key).to_owned(), (*value).into())).collect();
        assert_eq!(in_force, serde_json::Value::Object(rows));
    }

    #[test]
    fn the_guide_says_how_much_a_call_of_workspace_does() {
        let guide = include_str!("../../../docs/guide/limits.md");
        for said in [
            format!("reads or writes at most {} bytes", shown(WORKSPACE_CALL_BYTES_MAX.into())),
            format!("lists at most {} entries", shown(WORKSPACE_LIST_MAX.into())),
            format!("tells of at most {WORKSPACE_ITERATIONS_MAX} iterations"),
            format!("names at most {} files", shown(WORKSPACE_CHANGES_MAX as u64)),
            format!("makes at most {} versions", shown(WORKSPACE_STEPS_MAX)),
        ] {
            assert!(guide.contains(&said), "docs/guide/limits.md does not say `{said}`");
        }
    }

    /// A limit of the manifest, with the numbers of DESIGN written out once more.
    struct Settable {
        name: &'static str,
        default: u64,
        cap: u64,
        ask: fn(u64) -> LimitsRequest,
        given: fn(&Limits) -> u64,
    }

    macro_rules! settable {
        ($name:ident, $default:expr, $cap:expr, $given:expr) => {
            Settable {
                name: stringify!($name),
                default: $default,
                cap: $cap,
                ask: |asked| LimitsRequest { $name: Some(asked), ..LimitsRequest::default() },
                given: $given,
            }
        };
    }

    const SETTABLE: [Settable; 13] = [
        settable!(memory_bytes, 64 << 20, 256 << 20, |limits| limits.memory_bytes),
        settable!(cpu_ms, 10_000, 600_000, |limits| millis(limits.cpu)),
        settable!(wall_ms, 60_000, 3_600_000, |limits| millis(limits.wall)),
        settable!(wait_ms, 604_800_000, 7_776_000_000, |limits| millis(limits.wait)),
        settable!(output_bytes, 4 << 20, 64 << 20, |limits| limits.output_bytes),
        settable!(updates, 100_000, 1_000_000, |limits| limits.updates),
        settable!(state_bytes, 1 << 20, 16 << 20, |limits| limits.state_bytes),
        settable!(open_handles, 256, 4_096, |limits| limits.open_handles),
        settable!(inbox, 64, 1_024, |limits| limits.inbox),
        settable!(workspace_bytes, 1 << 30, 16 << 30, |limits| limits.workspace_bytes),
        settable!(workspace_entries, 200_000, 1_000_000, |limits| limits.workspace_entries),
        settable!(workspace_depth, 256, 256, |limits| limits.workspace_depth),
        settable!(workspace_file_bytes, 256 << 20, 512 << 20, |limits| limits.workspace_file_bytes),
    ];

    #[test]
    fn nothing_asked_is_the_default() {
        assert_eq!(Limits::resolve(&LimitsRequest::default()), Ok(Limits::default()));
        for limit in &SETTABLE {
            assert_eq!((limit.given)(&Limits::default()), limit.default, "{}", limit.name);
        }
    }

    #[test]
    fn a_workspace_has_what_was_asked_for() {
        let default = Limits::default().workspace();
        let own = podium_chronicle::Limits::default();
        assert_eq!((default.workspace_bytes, default.store_bytes), (own.workspace_bytes, own.store_bytes));
        assert_eq!((default.workspace_entries, default.depth), (own.workspace_entries, own.depth));
        assert_eq!(default.file_bytes, own.file_bytes);
        let asked = LimitsRequest { workspace_bytes: Some(7), workspace_depth: Some(3), ..LimitsRequest::default() };
        let given = Limits::resolve(&asked).expect("is given").workspace();
        assert_eq!((given.workspace_bytes, given.store_bytes, given.depth), (7, 14, 3));
    }

    #[test]
    fn the_cap_is_given_one_more_and_zero_are_refused() {
        for Settable { name, cap, ask, given, .. } in &SETTABLE {
            let cap = *cap;
            for asked in [1, cap - 1, cap] {
                let limits = Limits::resolve(&ask(asked)).expect("is given");
                for other in &SETTABLE {
                    let expected = if other.name == *name { asked } else { other.default };
                    assert_eq!((other.given)(&limits), expected, "`{}` when `{name}` is asked for", other.name);
                }
                let in_force = serde_json::to_value(LimitsInForce::from(&limits)).expect("is written");
                assert_eq!(in_force[name], given(&limits), "`{name}` as it is shown");
            }
            for asked in [0, cap + 1, u64::MAX] {
                let refused = Limits::resolve(&ask(asked)).expect_err("is refused");
                assert_eq!(refused, LimitError { name, asked, cap });
                let said = format!("`limits.{name}` is {asked}; it must be from 1 to {cap}");
                assert_eq!(refused.to_string(), said);
            }
        }
    }

    #[test]
    fn each_limit_that_ends_a_turn_says_which_and_how_much() {
        let all = [
            (LimitReached::Memory(7), "memory_limit", "7 bytes of memory"),
            (LimitReached::Cpu(Duration::from_secs(7)), "cpu_limit", "7000 ms of processor time"),
            (LimitReached::Wall(Duration::from_secs(7)), "wall_limit", "took longer than its 7000 ms"),
            (LimitReached::Wait(Duration::from_secs(7)), "wait_limit", "waited longer than its 7000 ms"),
            (LimitReached::Output(7), "output_limit", "output is larger than its 7 bytes"),
            (LimitReached::Updates(7), "updates_limit", "7 updates"),
            (LimitReached::Handles(7), "handle_limit", "7 open files and folders"),
            (LimitReached::HostHandles(7), "handle_limit", "all 7 open files"),
            (LimitReached::Resources(7), "table_limit", "7 host resources"),
            (LimitReached::TableElements(7), "table_limit", "7 elements"),
            (LimitReached::Timers(7), "table_limit", "7 calls that may wait at once"),
            (LimitReached::HostCall(7), "host_call_limit", "7 bytes into the host"),
        ];
        for (limit, code, said) in all {
            assert_eq!(limit.code().name(), code);
            assert!(limit.to_string().contains(said), "{limit}");
        }
    }
}
