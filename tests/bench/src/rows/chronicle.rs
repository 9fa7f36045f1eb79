//! The versioned workspace: a snapshot of ten changed files beside what people snapshot folders with, the step of a turn that
//! changed none, opening after a crash, and what a version takes of the disk.
//!
//! The host's part is the library that it links, driven as its owner task drives it; peers are their own programs, so that their figures
//! hold the start of a process, as their users have it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use podium_chronicle::{
    Chronicle, DirtySet, Limits, Named, Place, Prepared, Retention, SnapshotRequest, Surroundings, VersionKind, boot_id,
};
use podium_kit::Clock;

use crate::report::{Bar, Figure, Line, count, ms, number};
use crate::stats::Times;
use crate::storage::Storage;
use crate::tools;

/// Files of the workspaces that are measured.
const SIZES: [usize; 2] = [10_000, 100_000];
/// Files that change between two snapshots.
const CHANGED: usize = 10;
/// Snapshots of the host; peers take longer and are asked less often.
const ROUNDS: usize = 60;
/// Snapshots of a peer.
const PEER_ROUNDS: usize = 10;
/// What one snapshot may take.
const SNAPSHOT_MS: f64 = 3.0;

pub(super) fn run() -> Vec<Line> {
    let mut lines = Vec::new();
    for files in SIZES {
        for storage in [Storage::free(), Storage::real()] {
            match measure(files, &storage) {
                Ok(measured) => lines.extend(measured),
                Err(why) => {
                    let what = format!("snapshot of {CHANGED} changed files of {}, p50 ms", count(files));
                    lines.push(Line::new(what, storage.name, Figure::Missing(why)).bar(Bar::AtMost(SNAPSHOT_MS)));
                }
            }
        }
    }
    lines
}

fn value(time: Duration) -> Figure {
    Figure::Value(ms(time))
}

fn measure(files: usize, storage: &Storage) -> Result<Vec<Line>, String> {
    let folder = storage.folder();
    let mut host = Host::new(folder.path(), files)?;
    let (snapshots, empty, growth) = host.rounds()?;
    let what = format!("snapshot of {CHANGED} changed files of {}", count(files));
    let mut line = Line::new(format!("{what}, p50 ms"), storage.name, value(snapshots.p50()));
    for peer in PEERS {
        let figure = peer.measure(folder.path(), files);
        line = line.beside(peer.name, figure.map_or_else(Figure::Missing, |times| value(times.p50())));
    }
    let note = format!("{} KB of disk for each such version", number(growth / 1e3));
    let mut lines = vec![
        line.bar(Bar::AtMost(SNAPSHOT_MS)).note(note),
        Line::new(format!("{what}, p99 ms"), storage.name, value(snapshots.p99())).bar(Bar::AtMost(10.0)),
        Line::new(
            format!("snapshot step of a turn that changed no file, of {}, p50 ms", count(files)),
            storage.name,
            value(empty.p50()),
        )
        .bar(Bar::AtMost(0.1)),
    ];
    let short = host.crashes()?;
    // As long a history again, and then some.
    for _ in 0..5 {
        host.rounds()?;
    }
    let long = host.crashes()?;
    let versions = host.named.version;
    let what = format!("opening a workspace of {} files after kill -9, p50 ms", count(files));
    let bar = if files <= 10_000 { Bar::AtMost(20.0) } else { Bar::None };
    let note = format!("{} ms after {versions} versions", number(ms(long.p50())));
    lines.push(Line::new(what, storage.name, value(short.p50())).bar(bar).note(note));
    Ok(lines)
}

/// The path of a file among these: folders of six, a hundred of them in a folder each.
fn path_of(n: usize) -> String {
    format!("d{}/e{}/f{n}.rs", n / 600, n / 6 % 100)
}

/// Lines as of a source file, no two files alike.
fn text_of(n: usize, lines: usize) -> String {
    (0..lines).map(|line| format!("    let value_{line} = compute({n}, {});\n", n * 31 + line * 7)).collect()
}

/// Makes a workspace of these files.
fn fill(work: &Path, files: usize) -> Result<(), String> {
    // Seven kilobytes on average as in a large project, less where there are very many.
    let lines = if files > 10_000 { 20 } else { 160 };
    for n in 0..files {
        let file = work.join(path_of(n));
        let made = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&file, text_of(n, lines)))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}

/// Appends to ten files, others each round.
fn change(work: &Path, files: usize, round: usize) -> Result<Vec<String>, String> {
    let mut changed = Vec::new();
    for n in 0..CHANGED {
        let name = path_of((n * 977 + round * 31) % files);
        let appended = std::fs::File::options().append(true).open(work.join(&name));
        appended
            .and_then(|mut file| std::io::Write::write_all(&mut file, format!("// round {round}\n").as_bytes()))
            .map_err(|error| format!("{name}: {error}"))?;
        changed.push(name);
    }
    Ok(changed)
}

/// The host's workspace.
struct Host {
    place: Place,
    files: usize,
    round: usize,
    named: Named,
    dirty: DirtySet,
    chronicle: Option<Chronicle>,
}

impl Host {
    fn new(folder: &Path, files: usize) -> Result<Self, String> {
        let place = Place::new(folder.join("chronicle"));
        let dirty = DirtySet::new();
        let mut host = Self { place, files, round: 0, named: Named::default(), dirty, chronicle: None };
        host.open()?;
        fill(&host.place.work(), files)?;
        host.dirty.scan_needed();
        host.cut()?;
        Ok(host)
    }

    fn open(&mut self) -> Result<(), String> {
        self.chronicle = None;
        self.dirty = DirtySet::new();
        let surroundings = Surroundings {
            clock: Clock::system(),
            boot_id: boot_id(),
            limits: Limits::default(),
            retention: Retention::default(),
        };
        let opened = Chronicle::open(self.place.clone(), self.named, surroundings, self.dirty.clone());
        self.chronicle = Some(opened.map_err(|error| error.to_string())?.0);
        Ok(())
    }

    fn chronicle(&mut self) -> Result<&mut Chronicle, String> {
        self.chronicle.as_mut().ok_or_else(|| "the workspace is closed".to_owned())
    }

    fn prepare(&mut self) -> Result<(Prepared, Duration), String> {
        let request = SnapshotRequest { kind: VersionKind::Turn, cut: None, turn: None, scan: false };
        let chronicle = self.chronicle()?;
        let start = Instant::now();
        let prepared = chronicle.prepare(request).map_err(|error| error.to_string())?;
        Ok((prepared, start.elapsed()))
    }

    fn cut(&mut self) -> Result<Duration, String> {
        let (prepared, took) = self.prepare()?;
        self.named = Named { cut: self.named.cut + 1, version: prepared.version, root: Some(prepared.root) };
        let cut = self.named.cut;
        let chronicle = self.chronicle()?;
        chronicle.commit(prepared.version, cut).map_err(|error| error.to_string())?;
        // As the host does once nobody waits.
        if chronicle.checkpoint_due() {
            chronicle.checkpoint().map_err(|error| error.to_string())?;
        }
        Ok(took)
    }

    fn store_bytes(&mut self) -> Result<u64, String> {
        Ok(self.chronicle()?.stats().map_err(|error| error.to_string())?.store_bytes)
    }

    /// Times of snapshots of ten changed files, and of nothing; bytes of the store for each of the former.
    fn rounds(&mut self) -> Result<(Times, Times, f64), String> {
        let (mut snapshots, mut empty) = (Vec::new(), Vec::new());
        let before = self.store_bytes()?;
        for _ in 0..ROUNDS {
            self.round += 1;
            for name in change(&self.place.work(), self.files, self.round)? {
                self.dirty.touched(&name.parse().map_err(|_| "no path")?);
            }
            snapshots.push(self.cut()?);
            empty.push(self.prepare()?.1);
        }
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let growth = self.store_bytes()?.saturating_sub(before) as f64 / ROUNDS as f64;
        Ok((Times::new(snapshots), Times::new(empty), growth))
    }

    /// Times of openings without a clean end before.
    fn crashes(&mut self) -> Result<Times, String> {
        let mut opens = Vec::new();
        for _ in 0..10 {
            self.chronicle = None;
            let start = Instant::now();
            self.open()?;
            opens.push(start.elapsed());
        }
        Ok(Times::new(opens))
    }
}

/// Something that people snapshot folders with.
struct Peer {
    name: &'static str,
    /// Its program, or why it is missing.
    program: fn() -> Result<PathBuf, String>,
    /// What begins a repository for the folder, and what takes a snapshot of it: arguments, `WORK` and `STORE` in place of folders.
    begin: &'static [&'static [&'static str]],
    snapshot: &'static [&'static [&'static str]],
}

const PEERS: [Peer; 3] = [
    Peer {
        name: "git add + commit",
        program: tools::git,
        begin: &[&["-C", "WORK", "init", "-q"]],
        snapshot: &[
            &["-C", "WORK", "add", "-A"],
            &[
                "-C",
                "WORK",
                "-c",
                "user.name=b",
                "-c",
                "user.email=b@localhost",
                "-c",
                "gc.auto=0",
                "commit",
                "-qm",
                "x",
            ],
        ],
    },
    Peer {
        name: "jj",
        program: tools::jj,
        begin: &[&["git", "init", "WORK"]],
        snapshot: &[&["-R", "WORK", "util", "snapshot"]],
    },
    Peer {
        name: "restic",
        program: tools::restic,
        begin: &[&["-q", "-r", "STORE", "init"]],
        snapshot: &[&["-q", "-r", "STORE", "backup", "WORK"]],
    },
];

impl Peer {
    fn measure(&self, folder: &Path, files: usize) -> Result<Times, String> {
        let program = (self.program)()?;
        let home = folder.join(self.name.split(' ').next().unwrap_or(self.name));
        let (work, store) = (home.join("work"), home.join("store"));
        fill(&work, files)?;
        let run = |commands: &[&[&str]]| -> Result<(), String> {
            for arguments in commands {
                self.call(&program, arguments, &home, &work, &store)?;
            }
            Ok(())
        };
        run(self.begin)?;
        run(self.snapshot)?;
        let mut times = Vec::new();
        for round in 0..PEER_ROUNDS {
            change(&work, files, round)?;
            let start = Instant::now();
            run(self.snapshot)?;
            times.push(start.elapsed());
        }
        // The next peer needs the room, and on a file system in memory this is memory.
        std::fs::remove_dir_all(&home).map_err(|error| error.to_string())?;
        Ok(Times::new(times))
    }

    fn call(&self, program: &Path, arguments: &[&str], home: &Path, work: &Path, store: &Path) -> Result<(), String> {
        let mut command = Command::new(program);
        for argument in arguments {
            match *argument {
                "WORK" => command.arg(work),
                "STORE" => command.arg(store),
                plain => command.arg(plain),
            };
        }
        // Nothing of this machine's user is read or written.
        command.env("HOME", home).env("XDG_CACHE_HOME", home.join("cache")).env("XDG_CONFIG_HOME", home.join("config"));
        command
            .env("RESTIC_PASSWORD", "bench")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("JJ_USER", "b")
            .env("JJ_EMAIL", "b@localhost");
        let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
        let output = output.map_err(|error| format!("{}: {error}", self.name))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} failed: {}", self.name, said.lines().next().unwrap_or("it said nothing")))
    }
}
