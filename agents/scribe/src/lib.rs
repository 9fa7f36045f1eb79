//! An agent that does to its workspace what a message says, line by line: for the stories in tests/it/tests/it/one_cut.rs.
//!
//! `write PATH TEXT`, `append PATH TEXT`, `cut PATH LENGTH`, `mkdir PATH`, `rm PATH`, `rmdir PATH`, `mv FROM TO`, `ln FROM TO`,
//! `symlink TARGET PATH`, `touch PATH` do what their names say; `hold PATH` keeps a file open for writing while the guest lives, `scribble TEXT`
//! writes there; `enter PATH` keeps a folder open, `within NAME TEXT` writes a file there, wherever it is by then. `read PATH` and `list PATH` are added to the
//! answer. `sleep MS`, `fail`, `boom` and `spin` end or hold up the turn. A path has no spaces.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, SystemTime};

use podium_sdk::prelude::*;
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
                _ => change(command, rest)?,
            }
        }
        cx.reply(said)
    }
}

fn at(path: &str) -> String {
    format!("{WORKSPACE}/{path}")
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
