//! The host as a unit test plays it: the calls of the contract, answered from memory.
//!
//! Owns the one host that is entered on this thread, and its clock. Must never do what a real host would refuse:
//! a test that passes here must not fail there for the document it wrote.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use super::asks::Asks;
use super::past::Past;
use crate::Json;
use crate::bindings::podium::agent::messages::Entry;
pub(super) use crate::bindings::podium::agent::types::Error as HostError;
use crate::bindings::podium::agent::updates::Element;
use crate::log::Level;

/// The codes of wit/wire that this host answers with.
const BAD_REQUEST: &str = "POD-1001";
const INVALID_JSON: &str = "POD-1007";
const INVALID_POINTER: &str = "POD-3014";
const PATCH_REJECTED: &str = "POD-4010";
const STATE_LIMIT: &str = "POD-4011";

/// Bounds of the contract, as the WIT states them.
const STATE_BYTES_MAX: usize = 1024 * 1024;
const STATE_DEPTH_MAX: usize = 64;
const OPERATIONS_MAX: usize = 10_000;
const PAGE_MAX: u32 = 200;

/// One line of the agent's log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The Rust module that wrote it.
    pub module: String,
    /// What it says.
    pub message: String,
    /// What it says to machines.
    pub fields: Option<Json>,
}

/// What a turn has done so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) updates: Vec<Element>,
    pub(super) patches: Vec<Json>,
    pub(super) logs: Vec<LogLine>,
}

/// The host and what it keeps of the instance.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) state: Json,
    pub(super) state_version: u64,
    pub(super) config: Json,
    pub(super) config_revision: u64,
    pub(super) history: Vec<Entry>,
    /// The turn's clock: it moves only when everything waits.
    pub(super) now: Duration,
    pub(super) record: Record,
    /// What the turn asks people.
    pub(super) asks: Asks,
    /// What the files were.
    pub(super) past: Past,
    timers: BTreeMap<u64, (Duration, Waker)>,
    next_timer: u64,
    inbox: crate::steer::Inbox,
}

impl Played {
    pub(super) fn new(config: Json) -> Self {
        Self {
            state: Json::Object(serde_json::Map::new()),
            state_version: 0,
            config,
            config_revision: 1,
            history: Vec::new(),
            now: Duration::ZERO,
            record: Record::default(),
            asks: Asks::default(),
            past: Past::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
            inbox: crate::steer::Inbox::default(),
        }
    }

    /// When the first timer is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.timers.values().map(|(due, _)| *due).min()
    }

    /// Moves the clock and wakes whoever waited for that.
    pub(super) fn move_to(&mut self, now: Duration) {
        self.now = now;
        self.timers.values().filter(|(due, _)| *due <= now).for_each(|(_, waker)| waker.wake_by_ref());
    }

    fn apply(&mut self, text: &str) -> Result<u64, HostError> {
        let given: Json = serde_json::from_str(text).map_err(|error| refused(INVALID_JSON, &error))?;
        let patch: json_patch::Patch =
            serde_json::from_value(given.clone()).map_err(|error| refused(PATCH_REJECTED, &error))?;
        if patch.0.len() > OPERATIONS_MAX {
            return Err(refused(PATCH_REJECTED, &format!("a patch has at most {OPERATIONS_MAX} operations")));
        }
        let mut changed = self.state.clone();
        json_patch::patch(&mut changed, &patch).map_err(|error| refused(PATCH_REJECTED, &error))?;
        check_document(&changed)?;
        self.state = changed;
        self.state_version += 1;
        self.record.patches.push(given);
        Ok(self.state_version)
    }
}

/// What the contract wants of every state document.
pub(super) fn check_document(document: &Json) -> Result<(), HostError> {
    if !document.is_object() {
        return Err(refused(PATCH_REJECTED, &"the root of the state is an object"));
    }
    if document.to_string().len() > STATE_BYTES_MAX {
        return Err(refused(STATE_LIMIT, &format!("the state is larger than {STATE_BYTES_MAX} bytes")));
    }
    if depth(document) > STATE_DEPTH_MAX {
        return Err(refused(STATE_LIMIT, &format!("the state is deeper than {STATE_DEPTH_MAX}")));
    }
    Ok(())
}

fn depth(value: &Json) -> usize {
    match value {
        Json::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Json::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

pub(super) fn refused(code: &str, reason: &dyn std::fmt::Display) -> HostError {
    HostError { code: code.to_owned(), message: reason.to_string(), hint: None, retryable: false }
}

pub(super) fn no_host() -> HostError {
    let hint = Some("In a unit test, call the agent through `podium_sdk::testing::TestAgent`.".to_owned());
    HostError { hint, ..refused("no_host", &"there is no host to call here") }
}

thread_local! {
    /// The host of the hook that runs on this thread: libtest runs each test on one of its own.
    static ENTERED: RefCell<Option<Played>> = const { RefCell::new(None) };
}

/// Runs something with this host to call. The host is given back even when that panics.
pub(super) fn enter<T>(host: &mut Option<Played>, run: impl FnOnce() -> T) -> T {
    struct Leave<'a>(&'a mut Option<Played>);
    impl Drop for Leave<'_> {
        fn drop(&mut self) {
            *self.0 = ENTERED.take();
        }
    }
    ENTERED.set(host.take());
    let _leave = Leave(host);
    run()
}

/// Calls the entered host; none when there is none.
pub(super) fn call<T>(run: impl FnOnce(&mut Played) -> T) -> Option<T> {
    ENTERED.with_borrow_mut(|host| host.as_mut().map(run))
}

fn at(document: &Json, pointer: &str) -> Result<Option<String>, HostError> {
    // `~` may only stand before 0 and 1.
    let escapes_well = pointer.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
    if !(pointer.is_empty() || pointer.starts_with('/')) || !escapes_well {
        return Err(refused(INVALID_POINTER, &format!("`{pointer}` is not a JSON Pointer")));
    }
    Ok(document.pointer(pointer).map(Json::to_string))
}

/// `podium:agent/state`.
pub(crate) mod state {
    use super::{HostError, at, call, no_host};

    pub(crate) fn get(pointer: &str) -> Result<Option<String>, HostError> {
        call(|host| at(&host.state, pointer)).unwrap_or_else(|| Err(no_host()))
    }

    pub(crate) fn apply(patch: &str) -> Result<u64, HostError> {
        call(|host| host.apply(patch)).unwrap_or_else(|| Err(no_host()))
    }

    pub(crate) fn version() -> u64 {
        call(|host| host.state_version).unwrap_or(0)
    }
}

/// What `on_steer` hands on; no call of a host, but one inbox a guest.
pub(crate) mod inbox {
    use super::call;
    use crate::steer::Inbox;

    pub(crate) fn with<T>(run: impl FnOnce(&mut Inbox) -> T) -> T {
        call(|host| run(&mut host.inbox)).expect("steering needs the host of a test: podium_sdk::testing::TestAgent")
    }
}

/// `podium:agent/ask`.
pub(crate) mod ask {
    pub(crate) use crate::testing::asks::{permission, question};
}

/// `podium:agent/workspace`.
pub(crate) mod workspace {
    pub(crate) use crate::testing::past::{commit, diff, history, list, read, read_at, remove, restore, write};
}

/// `podium:agent/config`.
pub(crate) mod config {
    use super::{HostError, at, call, no_host};

    pub(crate) fn get(pointer: &str) -> Result<Option<String>, HostError> {
        call(|host| at(&host.config, pointer)).unwrap_or_else(|| Err(no_host()))
    }

    pub(crate) fn revision() -> u64 {
        call(|host| host.config_revision).unwrap_or(0)
    }
}

/// `podium:agent/log`. Lines are printed too, so that a test that fails shows them.
pub(crate) mod log {
    use super::{Json, Level, LogLine, call};

    pub(crate) fn write(level: Level, module: &str, message: &str, fields: Option<&str>) {
        println!("{level:?} {module}: {message}");
        let fields = fields.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())));
        let line = LogLine { level, module: module.to_owned(), message: message.to_owned(), fields };
        // Without a host the printed line is all there is.
        let _ = call(|host| host.record.logs.push(line));
    }
}

/// `podium:agent/messages`.
pub(crate) mod messages {
    use std::future::{Ready, ready};

    use super::{BAD_REQUEST, HostError, PAGE_MAX, Played, call, no_host, refused};
    use crate::bindings::podium::agent::messages::Page;

    pub(crate) fn history(before: Option<u64>, limit: u32) -> Ready<Result<Page, HostError>> {
        ready(call(|host| page(host, before, limit)).unwrap_or_else(|| Err(no_host())))
    }

    fn page(host: &Played, before: Option<u64>, limit: u32) -> Result<Page, HostError> {
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(refused(BAD_REQUEST, &format!("a page has 1 to {PAGE_MAX} messages")));
        }
        let end = host.history.partition_point(|entry| before.is_none_or(|before| entry.seq < before));
        let start = end.saturating_sub(limit as usize);
        let entries = host.history[start..end].to_vec();
        let before = entries.first().filter(|_| start > 0).map(|entry| entry.seq);
        Ok(Page { entries, before })
    }
}

/// `podium:agent/updates`.
pub(crate) mod updates {
    use super::{Element, HostError, INVALID_JSON, Json, call, no_host, refused};
    use crate::bindings::podium::agent::updates::ToolInput;

    pub(crate) fn emit(element: &Element) -> Result<(), HostError> {
        let json = match element {
            Element::ToolCall(tool) => match &tool.input {
                ToolInput::Complete(text) => Some(text),
                ToolInput::Pending | ToolInput::Delta(_) => None,
            },
            Element::ToolResult(result) => result.outcome.as_ref().ok(),
            _ => None,
        };
        if let Some(text) = json {
            serde_json::from_str::<Json>(text).map_err(|error| refused(INVALID_JSON, &error))?;
        }
        call(|host| host.record.updates.push(element.clone())).ok_or_else(no_host)
    }
}

/// The turn's clock. Time passes only while everything waits, and then at once.
pub(crate) mod timer {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{Duration, call};

    pub(crate) fn wait_for(duration: Duration) -> Timer {
        let made = call(|host| {
            host.next_timer += 1;
            (host.next_timer, host.now.saturating_add(duration))
        });
        let (id, due) = made.expect("a timer needs the host of a test: podium_sdk::testing::TestAgent");
        Timer { id, due }
    }

    pub(crate) struct Timer {
        id: u64,
        due: Duration,
    }

    impl Future for Timer {
        type Output = ();

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let poll = call(|host| {
                if host.now >= self.due {
                    host.timers.remove(&self.id);
                    return Poll::Ready(());
                }
                host.timers.insert(self.id, (self.due, cx.waker().clone()));
                Poll::Pending
            });
            poll.unwrap_or(Poll::Pending)
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            // A timer that nobody awaits any more must not move the clock.
            let _ = call(|host| host.timers.remove(&self.id));
        }
    }
}
