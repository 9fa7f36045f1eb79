//! The scribe, writing through WASI 0.3: for the stories in tests/it/tests/it/one_cut.rs and hostile_files.rs.
//!
//! It knows the commands of `agents/scribe` that change files, but `fail`, `boom` and `spin`; `list PATH` adds the names of a folder to the
//! answer, `stat PATH` its size, `size PATH LENGTH` makes a file as long. What is refused is added as `refused CODE`, and the turn goes on.

use std::cell::RefCell;

use podium_sdk::prelude::*;
use wasip3::filesystem::preopens;
use wasip3::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};
use wasip3::wit_stream;

type Done<T> = std::result::Result<T, ErrorCode>;

thread_local! {
    /// `hold`, with the place of the next byte.
    static HELD: RefCell<Option<(Descriptor, u64)>> = const { RefCell::new(None) };
    /// `enter`.
    static ENTERED: RefCell<Option<Descriptor>> = const { RefCell::new(None) };
}

struct Scribe;

#[podium_sdk::agent]
impl Agent for Scribe {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (root, _) = preopens::get_directories().pop().context("no workspace")?;
        let mut said = Vec::new();
        for line in message.text.lines() {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            match does(&root, command, rest).await {
                Ok(text) => said.extend(text),
                Err(code) => said.push(format!("refused {code:?}")),
            }
        }
        cx.reply(said.join("\n"))
    }
}

async fn does(root: &Descriptor, command: &str, rest: &str) -> Done<Option<String>> {
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    let make = OpenFlags::CREATE | OpenFlags::TRUNCATE;
    match command {
        "echo" => return Ok(Some(rest.to_owned())),
        "read" => return read(&open(root, rest, OpenFlags::empty(), DescriptorFlags::READ).await?).await.map(Some),
        "list" => {
            let folder = open(root, rest, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
            let (names, end) = folder.read_directory();
            let names = names.collect().await;
            end.await?;
            return Ok(Some(names.into_iter().map(|found| found.name).collect::<Vec<_>>().join(" ")));
        }
        "stat" => {
            let stat = root.stat_at(PathFlags::SYMLINK_FOLLOW, rest.to_owned()).await?;
            return Ok(Some(stat.size.to_string()));
        }
        "write" => fill(&open(root, first, make, DescriptorFlags::WRITE).await?, Some(0), second).await?,
        "append" => fill(&open(root, first, OpenFlags::CREATE, DescriptorFlags::WRITE).await?, None, second).await?,
        "cut" | "size" => {
            let file = open(root, first, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
            file.set_size(second.parse().unwrap_or(0)).await?;
        }
        "mkdir" => root.create_directory_at(rest.to_owned()).await?,
        "rm" => root.unlink_file_at(rest.to_owned()).await?,
        "rmdir" => root.remove_directory_at(rest.to_owned()).await?,
        "mv" => root.rename_at(first.to_owned(), root, second.to_owned()).await?,
        "ln" => root.link_at(PathFlags::empty(), first.to_owned(), root, second.to_owned()).await?,
        "symlink" => root.symlink_at(first.to_owned(), second.to_owned()).await?,
        "touch" => {
            let file = open(root, rest, OpenFlags::empty(), DescriptorFlags::WRITE).await?;
            file.set_times(NewTimestamp::NoChange, NewTimestamp::Timestamp(billion())).await?;
        }
        "hold" => HELD.set(Some((open(root, rest, make, DescriptorFlags::WRITE).await?, 0))),
        "scribble" => {
            let (file, at) = HELD.take().ok_or(ErrorCode::BadDescriptor)?;
            fill(&file, Some(at), rest).await?;
            HELD.set(Some((file, at + rest.len() as u64)));
        }
        "enter" => {
            let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
            ENTERED.set(Some(open(root, rest, OpenFlags::DIRECTORY, flags).await?));
        }
        "within" => {
            let folder = ENTERED.take().ok_or(ErrorCode::BadDescriptor)?;
            let file = open(&folder, first, OpenFlags::CREATE, DescriptorFlags::WRITE).await?;
            fill(&file, Some(0), second).await?;
            ENTERED.set(Some(folder));
        }
        _ => return Err(ErrorCode::Unsupported),
    }
    Ok(None)
}

/// The second that `touch` sets.
fn billion() -> wasip3::clocks::system_clock::Instant {
    wasip3::clocks::system_clock::Instant { seconds: 1_000_000_000, nanoseconds: 0 }
}

async fn open(at: &Descriptor, path: &str, open: OpenFlags, flags: DescriptorFlags) -> Done<Descriptor> {
    at.open_at(PathFlags::SYMLINK_FOLLOW, path.to_owned(), open, flags).await
}

async fn read(file: &Descriptor) -> Done<String> {
    let (bytes, end) = file.read_via_stream(0);
    let bytes = bytes.collect().await;
    end.await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes a text at a place, or at the end.
async fn fill(file: &Descriptor, at: Option<u64>, text: &str) -> Done<()> {
    let (mut bytes, stream) = wit_stream::new();
    let done = match at {
        Some(at) => file.write_via_stream(stream, at),
        None => file.append_via_stream(stream),
    };
    bytes.write_all(text.as_bytes().to_vec()).await;
    drop(bytes);
    done.await
}
