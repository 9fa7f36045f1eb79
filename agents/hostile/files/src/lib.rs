//! A hostile agent that tries to leave `/workspace`, and to fill the host's tables of files.
//!
//! Each command is one abuse, claimed by a story in tests/it/tests/it/hostile_files.rs. It answers what WASI told it.
//! Must never do anything useful.

use std::fmt::Debug;

use podium_sdk::prelude::*;
use wasip2::cli::stdout;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags, filesystem_error_code};
use wasip2::io::streams::StreamError;

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
            "list" => cx.reply(told(list(&root, rest))),
            "grow" => cx
                .reply(told(open_file(&root, first, OpenFlags::CREATE).and_then(|file| file.set_size(number(second))))),
            "seek" => {
                let written =
                    open_file(&root, first, OpenFlags::CREATE).and_then(|file| file.write(b"x", number(second)));
                cx.reply(told(written))
            }
            "stream" => cx.reply(told(stream(&root, first, number(second)))),
            // Until it is refused: how often it worked, and what was said then.
            "fill" => cx.reply(until_refused(|n| {
                open_file(&root, &format!("big{n}"), OpenFlags::CREATE)?.set_size(number(rest))
            })),
            "entries" => {
                root.create_directory_at(rest).map_err(failed)?;
                cx.reply(until_refused(|n| open_file(&root, &format!("{rest}/{n}"), OpenFlags::CREATE).map(drop)))
            }
            "names" => cx.reply(until_refused(|n| root.link_at(PathFlags::empty(), rest, &root, &format!("name{n}")))),
            // Files without a name, which stay open.
            "nameless" => {
                let mut open = Vec::new();
                cx.reply(until_refused(|_| {
                    let file = open_file(&root, "nameless", OpenFlags::CREATE)?;
                    let grown = file.set_size(number(rest));
                    root.unlink_file_at("nameless")?;
                    open.push(file);
                    grown
                }))
            }
            "copies" => {
                let mut open = Vec::new();
                cx.reply(until_refused(|_| {
                    let flags = DescriptorFlags::READ;
                    open.push(root.open_at(PathFlags::empty(), rest, OpenFlags::empty(), flags)?);
                    Ok(())
                }))
            }
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

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// How often something worked before it was refused, and how it was.
fn until_refused(mut step: impl FnMut(u64) -> std::result::Result<(), ErrorCode>) -> String {
    let mut count = 0;
    loop {
        match step(count) {
            Ok(()) => count += 1,
            Err(code) => return format!("{count} {}", code.name()),
        }
    }
}

fn list(root: &Descriptor, path: &str) -> std::result::Result<String, ErrorCode> {
    let folder = root.open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ)?;
    let names = folder.read_directory()?;
    let mut found = Vec::new();
    while let Some(entry) = names.read_directory_entry()? {
        found.push(entry.name);
    }
    Ok(found.join(" "))
}

/// Writes so many bytes through a stream; answers how many there was room for.
fn stream(root: &Descriptor, path: &str, bytes: u64) -> std::result::Result<u64, ErrorCode> {
    let stream = open_file(root, path, OpenFlags::CREATE)?.write_via_stream(0)?;
    let mut written = 0;
    while written < bytes {
        match stream.blocking_write_and_flush(&[7; 4096]) {
            Ok(()) => written += 4096,
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(filesystem_error_code(&error).unwrap_or(ErrorCode::Io));
            }
            Err(StreamError::Closed) => return Err(ErrorCode::Pipe),
        }
    }
    Ok(written)
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
