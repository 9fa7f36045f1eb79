//! The benchmark's agent of file calls: `OPERATION COUNT` does one of them so often, in the folder `d` of its workspace.
//!
//! `folder`, then `create` (with 1 KiB each), `stat`, `read`, `rename`, `random` (4 KiB each), `sequential` (64 KiB each), `unlink`.

use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

wit_bindgen::generate!({
    path: "../../../../wit/podium",
    inline: "
        package bench:filer;
        world filer { export podium:agent/lifecycle@0.1.0; }
    ",
    world: "bench:filer/filer",
    generate_all,
});

use exports::podium::agent::lifecycle::{ConfigChange, Description, Guest, Hooks, ShutdownReason};
use podium::agent::types::{Error, Message};

/// Files that `create` makes when it is asked for so many; what is done more often is done to them by turns.
const FILES: u64 = 4_000;

/// Random writes go within so many pages.
const PAGES: u64 = 4096;

struct Filer;

export!(Filer);

impl Guest for Filer {
    async fn describe() -> Description {
        Description { hooks: Hooks::ON_MESSAGE, state_schema_version: 0, config_schema: None, config_default: None }
    }

    async fn on_message(message: Message) -> Result<(), Error> {
        let (operation, count) = message.text.split_once(' ').unwrap_or((&message.text, "1"));
        does(operation, count.parse().unwrap_or(1)).map_err(|code| Error {
            code: "wasi".to_owned(),
            message: code.name().to_owned(),
            retryable: false,
            hint: None,
        })
    }

    async fn on_init() -> Result<(), Error> {
        Ok(())
    }

    async fn on_steer(_: Message) -> Result<(), Error> {
        Ok(())
    }

    async fn on_config_change(_: Vec<ConfigChange>, _: String) -> Result<(), Error> {
        Ok(())
    }

    async fn on_idle() -> bool {
        true
    }

    async fn on_shutdown(_: ShutdownReason) -> Result<(), Error> {
        Ok(())
    }

    async fn migrate(_: u32) -> Result<(), Error> {
        Ok(())
    }
}

fn does(operation: &str, count: u64) -> Result<(), ErrorCode> {
    let (root, _) = preopens::get_directories().pop().ok_or(ErrorCode::NoEntry)?;
    if operation == "folder" {
        return root.create_directory_at("d");
    }
    let write = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let folder = open(&root, "d", OpenFlags::DIRECTORY, DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY)?;
    let (page, piece) = ([7_u8; 4096], [7_u8; 64 << 10]);
    match operation {
        "random" | "sequential" => {
            let file = open(&folder, "large", OpenFlags::CREATE, write)?;
            for n in 0..count {
                if operation == "random" {
                    // Every page once in a round, far from the one before.
                    file.write(&page, n * 2_654_435_761 % PAGES * 4096)?;
                } else {
                    file.write(&piece, n % (PAGES / 16) * (64 << 10))?;
                }
            }
            return Ok(());
        }
        _ => {}
    }
    for n in 0..count {
        let name = format!("f{}", n % FILES);
        match operation {
            "create" => {
                drop(open(&folder, &name, OpenFlags::CREATE | OpenFlags::TRUNCATE, write)?.write(&page[..1024], 0)?)
            }
            "stat" => drop(folder.stat_at(PathFlags::empty(), &name)?),
            "read" => drop(open(&folder, &name, OpenFlags::empty(), DescriptorFlags::READ)?.read(1024, 0)?),
            "rename" => {
                let other = format!("g{n}");
                folder.rename_at(&name, &folder, &other)?;
                folder.rename_at(&other, &folder, &name)?;
            }
            "unlink" => folder.unlink_file_at(&name)?,
            _ => return Err(ErrorCode::Unsupported),
        }
    }
    Ok(())
}

fn open(at: &Descriptor, name: &str, open: OpenFlags, flags: DescriptorFlags) -> Result<Descriptor, ErrorCode> {
    at.open_at(PathFlags::empty(), name, open, flags)
}
