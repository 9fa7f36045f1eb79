//! An agent that does to its workspace what a message says, line by line: for the stories in tests/it/tests/it/one_cut.rs.
//!
//! `write PATH TEXT`, `append PATH TEXT`, `cut PATH LENGTH`, `mkdir PATH`, `rm PATH`, `rmdir PATH`, `mv FROM TO`, `ln FROM TO`,
//! `symlink TARGET PATH`, `touch PATH` do what their names say; `hold PATH` keeps a file open for writing while the guest lives, `scribble TEXT`
//! writes there; `enter PATH` keeps a folder open, `within NAME TEXT` writes a file there, wherever it is by then. `read PATH` and `list PATH` are added to the
//! answer. `sleep MS`, `fail`, `boom` and `spin` end or hold up the turn, and `ask` waits for a person. A path has no spaces.
//!
//! Through the interface `workspace`: `put PATH TEXT`, `fill PATH BYTES`, `burst PATH BYTES` (in one call), `poke PATH OFFSET TEXT`, `del PATH` and `restore PATH MOMENT` change
//! files; `get PATH`, `part PATH OFFSET LENGTH`, `ls [PATH]`, `step` (a version, which answers its moment), `was PATH MOMENT` (what a file was), `past PATH` (its history),
//! `changed` and `since MOMENT` are added to the answer. `try` before one of these adds the code of a refusal and goes on; `say` says what was added so far.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime};

use podium_sdk::{Question, prelude::*, workspace};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

/// The mount of the workspace.
const WORKSPACE: &str = "/workspace";

thread_local! {
    /// `hold`.
    static HELD: RefCell<Option<File>> = const { RefCell::new(None) };
    /// `enter`.
    static ENTERED: RefCell<Option<Descriptor>> = const { RefCell::new(None) };
}

struct Scribe;

#[podium_sdk::agent]
impl Agent for Scribe {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let mut said = String::new();
        for line in message.text.lines() {
            let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
            match command {
                "sleep" => cx.sleep(Duration::from_millis(rest.parse()?)).await?,
                "fail" => return Err(Error::new("scribe_failed", "asked to fail")),
                "ask" => {
                    said.push_str(cx.ask(Question::new("go-on", "Go on?").option("yes", "Go on.")).await?.as_str());
                }
                "boom" => panic!("boom"),
                "spin" => loop {
                    std::hint::black_box(());
                },
                "read" => said.push_str(&fs::read_to_string(at(rest))?),
                "list" => {
                    let names =
                        fs::read_dir(at(rest))?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                    said.push_str(&names.collect::<std::io::Result<Vec<_>>>()?.join(" "));
                }
                "say" => cx.reply(std::mem::take(&mut said))?,
                "try" => {
                    let (command, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                    let answer = on_workspace(command, rest).unwrap_or_else(|| Err(Error::new("unknown", command)));
                    said.push_str(&answer.unwrap_or_else(|error| format!("{} ", error.code)));
                }
                _ => match on_workspace(command, rest) {
                    Some(answer) => said.push_str(&answer?),
                    None => change(command, rest)?,
                },
            }
        }
        cx.reply(said)
    }
}

fn at(path: &str) -> String {
    format!("{WORKSPACE}/{path}")
}

/// A call of `workspace`; none when the command is another one.
fn on_workspace(command: &str, rest: &str) -> Option<Result<String>> {
    match command {
        "put" | "fill" | "burst" | "poke" | "del" | "restore" => Some(put(command, rest).map(|()| String::new())),
        "get" | "part" | "ls" | "step" | "was" | "past" | "changed" | "since" => {
            Some(look(command, rest).map(|said| format!("{said} ")))
        }
        _ => None,
    }
}

/// Those that change something.
fn put(command: &str, rest: &str) -> Result<()> {
    let (path, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match command {
        "put" => workspace::write(path, text),
        "fill" => workspace::write(path, vec![b'x'; text.parse()?]),
        "burst" => workspace::write_part(path, 0, vec![b'x'; text.parse()?]),
        "poke" => {
            let (offset, text) = text.split_once(' ').context("an offset and a text")?;
            workspace::write_part(path, offset.parse()?, text)
        }
        "restore" => workspace::restore(path, text.parse()?),
        _ => workspace::remove(path),
    }
}

/// Those that answer something.
fn look(command: &str, rest: &str) -> Result<String> {
    let (path, more) = rest.split_once(' ').unwrap_or((rest, ""));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let told = |changes: workspace::Changes| {
        let all = changes.changes.into_iter().map(|it| format!("{}:{}", word(it.difference), it.path));
        all.collect::<Vec<_>>().join(" ")
    };
    Ok(match command {
        "get" => text(workspace::read(path)?),
        "part" => {
            let (offset, len) = more.split_once(' ').context("an offset and a length")?;
            text(workspace::read_part(path, offset.parse()?, len.parse()?)?)
        }
        "ls" => {
            let entry = |entry: workspace::Entry| format!("{}:{}:{}", entry.name, word(entry.kind), entry.size);
            workspace::list(path)?.into_iter().map(entry).collect::<Vec<_>>().join(" ")
        }
        "step" => workspace::commit()?.to_string(),
        "was" => text(workspace::read_at(path, more.parse()?)?),
        "past" => {
            let told = |it: workspace::Iteration| format!("{}:{}:{}:{}", it.n, it.index, word(it.operation), it.at_ms);
            workspace::history(path)?.into_iter().map(told).collect::<Vec<_>>().join(" ")
        }
        "since" => told(workspace::diff(rest.parse()?, None)?),
        _ => told(workspace::changed()?),
    })
}

/// The name of a variant alone.
fn word(variant: impl std::fmt::Debug) -> String {
    format!("{variant:?}").rsplit(':').next().unwrap_or_default().to_owned()
}

fn change(command: &str, rest: &str) -> Result<()> {
    let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
    match command {
        "write" => fs::write(at(first), second)?,
        "append" => OpenOptions::new().append(true).create(true).open(at(first))?.write_all(second.as_bytes())?,
        "cut" => OpenOptions::new().write(true).open(at(first))?.set_len(second.parse()?)?,
        "mkdir" => fs::create_dir(at(rest))?,
        "rm" => fs::remove_file(at(rest))?,
        "rmdir" => fs::remove_dir(at(rest))?,
        "mv" => fs::rename(at(first), at(second))?,
        "ln" => fs::hard_link(at(first), at(second))?,
        "touch" => File::open(at(rest))?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))?,
        "symlink" => root()?.symlink_at(first, second).map_err(refused)?,
        "hold" => HELD.set(Some(File::create(at(rest))?)),
        "scribble" => HELD.with_borrow_mut(|held| match held {
            Some(file) => Ok(file.write_all(rest.as_bytes())?),
            None => Err(Error::new("nothing_held", "`hold` was not asked for")),
        })?,
        "enter" => {
            let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
            let folder = root()?.open_at(PathFlags::empty(), rest, OpenFlags::DIRECTORY, flags).map_err(refused)?;
            ENTERED.set(Some(folder));
        }
        "within" => ENTERED.with_borrow(|entered| match entered {
            Some(folder) => {
                let file = folder.open_at(PathFlags::empty(), first, OpenFlags::CREATE, DescriptorFlags::WRITE);
                file.and_then(|file| file.write(second.as_bytes(), 0)).map_err(refused).map(drop)
            }
            None => Err(Error::new("nowhere_entered", "`enter` was not asked for")),
        })?,
        _ => return Err(Error::new("unknown_command", command)),
    }
    Ok(())
}

fn root() -> Result<Descriptor> {
    let folders = preopens::get_directories();
    let found = folders.into_iter().find(|(_, name)| name == WORKSPACE);
    found.map(|(folder, _)| folder).context("no workspace")
}

fn refused(code: ErrorCode) -> Error {
    Error::new("refused", code.name())
}
