//! The files of the workspace without a file system, and what they were: their history, their content at any moment, and the way back.
//!
//! The same files are `std::fs` under `/workspace`, and most agents use those; [`read`], [`write`](fn@write), [`list`] and [`remove`] need nothing of WASI, and are
//! played by [`TestAgent`](crate::testing::TestAgent). Paths here are relative to the workspace: `notes/today.md`. A symbolic link on the way is not followed.
//!
//! Each cut that changes a file leaves an iteration of its path, and so does [`commit`] within a turn. A *moment* is the number `n`
//! of an iteration: the files as they were in that version.
//!
//! ```
//! use podium_sdk::prelude::*;
//! use podium_sdk::testing::TestAgent;
//! use podium_sdk::workspace;
//!
//! struct Undo;
//!
//! #[podium_sdk::agent]
//! impl Agent for Undo {
//!     async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
//!         let path = message.text.trim();
//!         let before = match workspace::history(path)?.as_slice() {
//!             [.., before, _now] => before.n,
//!             _ => return cx.reply(format!("nothing to undo in {path}")),
//!         };
//!         workspace::restore(path, before)?;
//!         cx.reply(format!("{path} is {} bytes again", workspace::read(path)?.len()))
//!     }
//! }
//!
//! let mut agent = TestAgent::<Undo>::new().with_past("notes.md", ["one", "one and two"]);
//! let turn = agent.send("notes.md");
//! assert_eq!(turn.reply(), "notes.md is 3 bytes again");
//! assert_eq!(agent.file("notes.md"), Some(&b"one"[..]));
//! assert_eq!(agent.send("other.md").reply(), "nothing to undo in other.md");
//! ```
//!
//! All of it is part of the turn: what a turn that fails wrote or restored is as it was. A turn that waits and is run again does the same again,
//! with the same moments. Must never keep anything itself: the host has it.

use crate::error::placed;
use crate::host::workspace as host;
use crate::{Error, Result};

pub use crate::bindings::podium::agent::workspace::{Change, Changes, Difference, Entry, Iteration, Kind, Operation};

/// Most iterations that the host gives at once.
const PAGE_MAX: u32 = 200;
/// Most entries that the host gives at once.
const LIST_MAX: u32 = 1_000;
/// Most bytes that the host gives or takes at once.
const CALL_BYTES_MAX: u32 = 1024 * 1024;

/// A file, whole. [`read_part`] is for those that memory does not hold.
#[track_caller]
pub fn read(path: &str) -> Result<Vec<u8>> {
    placed(whole(|offset| host::read(path, offset, CALL_BYTES_MAX).map_err(Error::from_host)))
}

/// At most `len` bytes (1 to 1 MiB) of a file, from `offset` on; fewer at its end.
#[track_caller]
pub fn read_part(path: &str, offset: u64, len: u32) -> Result<Vec<u8>> {
    placed(host::read(path, offset, len).map_err(Error::from_host))
}

fn whole(mut read: impl FnMut(u64) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let part = read(content.len() as u64)?;
        if part.is_empty() {
            return Ok(content);
        }
        content.extend_from_slice(&part);
    }
}

/// Makes a file hold this and nothing else, with the folders above it. `POD-4025` says that it does not fit into the workspace; of more than 1 MiB the
/// first part may be written then.
///
/// ```
/// use podium_sdk::prelude::*;
/// use podium_sdk::testing::TestAgent;
/// use podium_sdk::workspace;
///
/// struct Notes;
///
/// #[podium_sdk::agent]
/// impl Agent for Notes {
///     async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
///         workspace::write(&format!("notes/{}.md", message.id), message.text)?;
///         let names: Vec<_> = workspace::list("notes")?.into_iter().map(|entry| entry.name).collect();
///         cx.reply(names.join(" "))
///     }
/// }
///
/// let mut agent = TestAgent::<Notes>::new();
/// agent.send("milk");
/// assert_eq!(agent.send("eggs").reply(), "message-1.md message-2.md");
/// assert_eq!(agent.file("notes/message-1.md"), Some(&b"milk"[..]));
/// ```
#[track_caller]
pub fn write(path: &str, content: impl AsRef<[u8]>) -> Result<()> {
    placed(write_whole(path, content.as_ref()))
}

fn write_whole(path: &str, content: &[u8]) -> Result<()> {
    let (first, rest) = content.split_at(content.len().min(CALL_BYTES_MAX as usize));
    host::write(path, None, first).map_err(Error::from_host)?;
    let mut offset = first.len() as u64;
    for part in rest.chunks(CALL_BYTES_MAX as usize) {
        host::write(path, Some(offset), part).map_err(Error::from_host)?;
        offset += part.len() as u64;
    }
    Ok(())
}

/// Makes at most 1 MiB of a file, from `offset` on, this; what is missing before it reads as zeros.
#[track_caller]
pub fn write_part(path: &str, offset: u64, content: impl AsRef<[u8]>) -> Result<()> {
    placed(host::write(path, Some(offset), content.as_ref()).map_err(Error::from_host))
}

/// The entries of a folder by their names; of the workspace itself with the empty path.
#[track_caller]
pub fn list(folder: &str) -> Result<Vec<Entry>> {
    placed(list_all(folder))
}

fn list_all(folder: &str) -> Result<Vec<Entry>> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let listing = host::list(folder, after.as_deref(), LIST_MAX).map_err(Error::from_host)?;
        entries.extend(listing.entries);
        after = listing.next;
        if after.is_none() {
            return Ok(entries);
        }
    }
}

/// Removes a file, a link or an empty folder.
#[track_caller]
pub fn remove(path: &str) -> Result<()> {
    placed(host::remove(path).map_err(Error::from_host))
}

/// Makes a version of what the workspace holds now and answers its moment: within the turn a point to compare with and to come back to. It is
/// true with the turn's cut. 0 while there never was a file.
#[track_caller]
pub fn commit() -> Result<u64> {
    placed(host::commit().map_err(Error::from_host))
}

/// What happened to a path, oldest first, whether or not it is still there; nothing for one that never was.
#[track_caller]
pub fn history(path: &str) -> Result<Vec<Iteration>> {
    placed(read_history(path))
}

fn read_history(path: &str) -> Result<Vec<Iteration>> {
    let (mut iterations, mut after) = (Vec::new(), Some(0));
    while let Some(from) = after {
        let page = host::history(path, from, PAGE_MAX).map_err(Error::from_host)?;
        after = page.next;
        iterations.extend(page.iterations);
    }
    Ok(iterations)
}

/// A file as it was at a moment, whole. [`read_part_at`] is for those that memory does not hold.
#[track_caller]
pub fn read_at(path: &str, moment: u64) -> Result<Vec<u8>> {
    placed(whole(|offset| host::read_at(path, moment, offset, CALL_BYTES_MAX).map_err(Error::from_host)))
}

/// At most `len` bytes (1 to 1 MiB) of a file as it was, from `offset` on; fewer at its end.
#[track_caller]
pub fn read_part_at(path: &str, moment: u64, offset: u64, len: u32) -> Result<Vec<u8>> {
    placed(host::read_at(path, moment, offset, len).map_err(Error::from_host))
}

/// The files that this turn has changed so far. Makes a version, as [`commit`] does.
#[track_caller]
pub fn changed() -> Result<Changes> {
    placed(host::diff(None, None).map_err(Error::from_host))
}

/// The files that differ between two moments; `None` as the later one is now, of which a version is made.
#[track_caller]
pub fn diff(earlier: u64, later: Option<u64>) -> Result<Changes> {
    placed(host::diff(Some(earlier), later).map_err(Error::from_host))
}

/// Brings a path, with everything beneath it, to what it was; it goes, if it was not there.
#[track_caller]
pub fn restore(path: &str, moment: u64) -> Result<()> {
    placed(host::restore(path, moment).map_err(Error::from_host))
}
