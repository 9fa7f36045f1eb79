//! A hostile agent that tries to leave `/workspace`, and to fill the host's tables of files.
//!
//! Each command is one abuse, claimed by a story in tests/it/tests/it/hostile.rs. It answers what WASI told it.
//! Must never do anything useful.

use std::fmt::Debug;

use podium_sdk::prelude::*;
use wasip2::cli::stdout;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

struct Files;

#[podium_sdk::agent]
impl Agent for Files {
    type State = Json;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        let root = workspace()?;
        match command {
            "echo" => cx.reply(rest),
            "write" => cx.reply(told(write(&root, first, second))),
            "read" => cx.reply(told(read(&root, rest))),
            "mkdir" => cx.reply(told(root.create_directory_at(rest))),
            "symlink" => cx.reply(told(root.symlink_at(first, second))),
            "link" => cx.reply(told(root.link_at(PathFlags::empty(), first, &root, second))),
            "follow-link" => cx.reply(told(root.link_at(PathFlags::SYMLINK_FOLLOW, first, &root, second))),
            "rename" => cx.reply(told(root.rename_at(first, &root, second))),
            "remove" => cx.reply(told(root.unlink_file_at(rest))),
            "stat" => cx.reply(told(root.stat_at(PathFlags::SYMLINK_FOLLOW, rest).map(|stat| stat.size))),
            "name" => cx.reply(told(write(&root, &hostile_name(rest)?, "x"))),
            "handles" => {
                write(&root, "one", "x").map_err(failed)?;
                let mut open = Vec::new();
                loop {
                    open.push(open_file(&root, "one", OpenFlags::empty()).map_err(failed)?);
                }
            }
            "folders" => {
                let mut open = Vec::new();
                loop {
                    open.push(root.read_directory().map_err(failed)?);
                }
            }
            "streams" => {
                write(&root, "one", "x").map_err(failed)?;
                let file = open_file(&root, "one", OpenFlags::empty()).map_err(failed)?;
                let mut open = Vec::new();
                loop {
                    open.push(file.read_via_stream(0).map_err(failed)?);
                }
            }
            // Each kind of stream, dropped before anything is read of it, or before what was written is out.
            "drop-streams" => {
                let one = open_file(&root, "one", OpenFlags::CREATE).map_err(failed)?;
                let two = open_file(&root, "two", OpenFlags::CREATE).map_err(failed)?;
                for _ in 0..rest.parse::<u64>()? {
                    drop(one.read_via_stream(0).map_err(failed)?);
                    drop(root.read_directory().map_err(failed)?);
                    let stream = two.write_via_stream(0).map_err(failed)?;
                    if stream.check_write().is_ok_and(|allowed| allowed > 0) {
                        let _ = stream.write(b"x");
                    }
                    // A stream goes before what says that it is ready.
                    let ready = stream.subscribe();
                    drop((ready, stream));
                    drop(stdout::get_stdout());
                }
                cx.reply("dropped")
            }
            "preopens" => {
                let mut open = Vec::new();
                loop {
                    open.push(preopens::get_directories());
                }
            }
            "deep" => cx.reply(told(deep(root, rest.parse()?))),
            other => bail!("there is no abuse `{other}`"),
        }
    }
}

fn workspace() -> Result<Descriptor> {
    let (root, _) = preopens::get_directories().pop().context("there is no workspace")?;
    Ok(root)
}

/// What the host said, in a word.
fn told<T: Debug>(result: std::result::Result<T, ErrorCode>) -> String {
    match result {
        Ok(value) => format!("done {value:?}"),
        Err(error) => format!("refused {}", error.name()),
    }
}

fn failed(error: ErrorCode) -> Error {
    Error::new("wasi", error.name())
}

fn open_file(root: &Descriptor, path: &str, flags: OpenFlags) -> std::result::Result<Descriptor, ErrorCode> {
    root.open_at(PathFlags::SYMLINK_FOLLOW, path, flags, DescriptorFlags::READ | DescriptorFlags::WRITE)
}

fn write(root: &Descriptor, path: &str, text: &str) -> std::result::Result<u64, ErrorCode> {
    open_file(root, path, OpenFlags::CREATE)?.write(text.as_bytes(), 0)
}

fn read(root: &Descriptor, path: &str) -> std::result::Result<String, ErrorCode> {
    let file = root.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)?;
    let (bytes, _) = file.read(1024, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names that break what does not expect them.
fn hostile_name(which: &str) -> Result<String> {
    Ok(match which {
        "newline" => "one\ntwo".to_owned(),
        "control" => "bell\u{7}\u{1b}[31mred".to_owned(),
        "bidi" => "txt.\u{202e}exe".to_owned(),
        "backslash" => "..\\..\\up".to_owned(),
        "quote" => "a\"b'c<d>&".to_owned(),
        "dots" => "...".to_owned(),
        "space" => " ".to_owned(),
        "longest" => "x".repeat(255),
        "too-long" => "x".repeat(256),
        "nul" => "a\0b".to_owned(),
        "empty" => String::new(),
        "dot" => ".".to_owned(),
        "million" => "x/".repeat(500_000),
        other => bail!("there is no name `{other}`"),
    })
}

/// Folders within each other, deeper than any path may be long.
fn deep(mut at: Descriptor, depth: u32) -> std::result::Result<u32, ErrorCode> {
    for _ in 0..depth {
        at.create_directory_at("d")?;
        at = at.open_at(PathFlags::empty(), "d", OpenFlags::DIRECTORY, DescriptorFlags::MUTATE_DIRECTORY)?;
    }
    Ok(depth)
}
