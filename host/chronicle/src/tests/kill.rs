//! A process that is killed: at every step of a snapshot, a rollback, a restore and a collection, and at any other moment. What it
//! acknowledged is there, and nothing of what it did by half is seen.
//!
//! The child is this test's own program. It writes what is to be a cut aside, makes the version, and appends a line that names it
//! to a file that stands for `messages.db`: the cut is acknowledged once the line is whole.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::store::{NEWEST, noise};
use super::{Bench, TURN, copy_folder, files_in};
use crate::failpoint::testing;
use crate::{ContentHash, Named, SnapshotRequest, VersionKind};

/// Where the child works, what it does, and the step at which it dies; 0 for none.
const FOLDER: &str = "PODIUM_CHRONICLE_KILL_FOLDER";
const WORK: &str = "PODIUM_CHRONICLE_KILL_WORK";
const STEP: &str = "PODIUM_CHRONICLE_KILL_STEP";

fn messages(folder: &Path) -> PathBuf {
    folder.join("messages")
}

fn truth(folder: &Path, cut: u64) -> PathBuf {
    folder.join("truth").join(cut.to_string())
}

/// The last cut whose line is whole.
fn acknowledged(folder: &Path) -> Named {
    let text = std::fs::read_to_string(messages(folder)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let Some(line) = whole.lines().next_back() else { return Named::default() };
    let words: Vec<&str> = line.split(' ').collect();
    let bytes: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&words[2][2 * at..2 * at + 2], 16).unwrap()).collect();
    let root = ContentHash::from_slice(&bytes);
    Named { cut: words[0].parse().unwrap(), version: words[1].parse().unwrap(), root }
}

/// Opens what a killed process left, and checks everything that was promised.
fn open_and_check(folder: &Path, case: &str) -> Bench {
    let mut bench = Bench::at(folder, acknowledged(folder));
    if let Err(error) = bench.try_open() {
        panic!("{case}: {error}");
    }
    let cut = bench.named.cut;
    if cut > 0 {
        bench.assert_at_head();
        assert_eq!(bench.files(), files_in(&truth(folder, cut)), "{case}, cut {cut}");
    } else {
        // From before any cut nothing was promised; it is in the first one.
        bench.get().dirty().scan_needed();
    }
    let checked = bench.get().fsck().unwrap();
    assert_eq!((checked.faults, checked.database), (Vec::new(), None), "{case}");
    bench
}

/// Makes a cut of what is there.
fn cut(bench: &mut Bench, folder: &Path, request: SnapshotRequest) {
    let number = bench.named.cut + 1;
    let aside = truth(folder, number);
    if aside.exists() {
        // Of one that was never acknowledged.
        std::fs::remove_dir_all(&aside).unwrap();
    }
    copy_folder(&bench.work(), &aside);
    let prepared = bench.get().prepare(SnapshotRequest { cut: Some(number), ..request }).unwrap();
    bench.name(&prepared);
    let root = bench.named.root.unwrap_or_else(crate::empty_root);
    let line = format!("{number} {} {root}\n", prepared.version);
    let mut file = std::fs::File::options().create(true).append(true).open(messages(folder)).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    bench.get().commit(prepared.version, number).unwrap();
    if number > 2 {
        std::fs::remove_dir_all(truth(folder, number - 2)).unwrap_or_default();
    }
}

/// Each of the four once.
fn every_step(bench: &mut Bench, folder: &Path) {
    for round in 0..3 {
        bench.write("a", format!("round {round}"));
        bench.write(&format!("d/noise{round}"), noise(round, 30_000));
        if round == 2 {
            bench.remove("d/noise0");
        }
        cut(bench, folder, TURN);
    }
    bench.write("a", "of a turn that fails");
    bench.write("new/file", "of a turn that fails");
    bench.remove("d/noise1");
    bench.get().roll_back().unwrap();
    bench.write("a", "before the restore");
    let first = bench.get().versions(0, 1).unwrap()[0].id;
    bench.get().restore(first, None).unwrap();
    cut(bench, folder, SnapshotRequest { kind: VersionKind::Restore, ..TURN });
    bench.get().collect(&NEWEST, u64::MAX).unwrap();
    bench.write("a", "the last");
    cut(bench, folder, TURN);
}

/// Whatever comes, by this seed.
fn anything(bench: &mut Bench, folder: &Path, seed: u32) {
    let mut random = noise(seed, 4096).into_iter();
    let mut byte = || random.next().unwrap_or(0);
    for _ in 0..6 {
        for _ in 0..1 + byte() % 4 {
            let name = format!("d{}/f{}", byte() % 4, byte() % 6);
            if byte() % 4 == 0 && bench.work().join(&name).exists() {
                bench.remove(&name);
            } else {
                bench.write(&name, noise(u32::from(byte()), 100 * u32::from(byte())));
            }
        }
        match byte() % 8 {
            0 if bench.named.cut > 0 => drop(bench.get().roll_back().unwrap()),
            1 if bench.named.cut > 0 => {
                let versions = bench.get().versions(0, 1000).unwrap();
                let version = versions[usize::from(byte()) % versions.len()].id;
                bench.get().restore(version, None).unwrap();
                cut(bench, folder, SnapshotRequest { kind: VersionKind::Restore, ..TURN });
            }
            2 => {
                let keep = crate::Retention { newest: 3, recovered: 2, ..NEWEST };
                bench.get().collect(&keep, u64::MAX).unwrap();
            }
            3 => bench.get().checkpoint().unwrap(),
            _ => cut(bench, folder, TURN),
        }
    }
}

/// What the other tests start. It says each step on its standard output.
#[test]
#[ignore = "the child of the tests here"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let number = |name| std::env::var(name).unwrap().parse::<u32>().unwrap();
    let (work, dies_at) = (number(WORK), number(STEP));
    // Steps of the opening count too: a process may die while it mends what another left.
    let mut step = 0;
    testing::set(move |name| {
        step += 1;
        if step == dies_at {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        }
        println!("step {name}");
        Ok(())
    });
    let mut bench = open_and_check(&folder, "in the child");
    match work {
        0 => every_step(&mut bench, &folder),
        seed => anything(&mut bench, &folder, seed),
    }
    if work % 3 == 1 {
        bench.chronicle.take().unwrap().close().unwrap();
    }
}

fn start(folder: &Path, work: u32, dies_at: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::kill::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(WORK, work.to_string())
        .env(STEP, dies_at.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a child; gives the steps that it came by, and whether it was killed. One that fails by itself fails the test.
fn ended(child: Child, case: &str) -> (Vec<String>, bool) {
    let output = child.wait_with_output().unwrap();
    let killed = output.status.signal() == Some(9);
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(killed || output.status.success(), "{case}: {:?}\n{shown}\n{said}", output.status);
    let steps = BufReader::new(&output.stdout[..]).lines().map_while(Result::ok);
    (steps.filter_map(|line| Some(line.split_once("step ")?.1.to_owned())).collect(), killed)
}

#[test]
fn at_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let (steps, killed) = ended(start(folder.path(), 0, 0), "unharmed");
    assert!(!killed);
    for step in [
        "pack.begin",
        "pack.sync",
        "snapshot.looked",
        "snapshot.writing",
        "snapshot.prepared",
        "snapshot.committing",
        "snapshot.committed",
        "recover.kept",
        "restore.started",
        "restore.placing",
        "restore.removing",
        "restore.placed",
        "restore.done",
        "gc.drop",
        "gc.marked",
        "gc.removing",
        "gc.copied",
        "gc.flipped",
        "gc.removed",
    ] {
        assert!(steps.iter().any(|name| name == step), "{step} in {steps:?}");
    }
    for (dies_at, step) in (1..).zip(&steps) {
        let folder = tempfile::tempdir().unwrap();
        let case = format!("at step {dies_at}, {step}");
        assert!(ended(start(folder.path(), 0, dies_at), &case).1, "{case}");
        let mut bench = open_and_check(folder.path(), &case);
        bench.write("after", "the kill");
        cut(&mut bench, folder.path(), TURN);
        bench.assert_at_head();
    }
}

/// Rounds of the test below.
const ROUNDS: u32 = 200;

#[test]
fn in_two_hundred_random_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = noise(2026, 4096).into_iter().map(u32::from);
    let mut killed = 0;
    let mut cuts = Vec::new();
    for round in 1..=ROUNDS {
        let (coin, when) = (random.next().unwrap(), random.next().unwrap());
        let case = format!("round {round}");
        let child = if coin % 2 == 0 {
            start(folder.path(), round, 1 + when % 120)
        } else {
            // At any moment, not only at a step.
            let mut child = start(folder.path(), round, 0);
            std::thread::sleep(Duration::from_micros(u64::from(when) * 500));
            child.kill().unwrap();
            child
        };
        killed += u32::from(ended(child, &case).1);
        let named = acknowledged(folder.path());
        assert!(cuts.last().is_none_or(|last| *last <= named.cut), "{case}");
        cuts.push(named.cut);
        if round % 10 == 0 {
            open_and_check(folder.path(), &case);
        }
    }
    assert!(killed > ROUNDS / 4, "{killed} were killed");
    assert!(cuts.last().is_some_and(|last| *last > 20), "{cuts:?}");
    let mut bench = open_and_check(folder.path(), "the end");
    bench.write("after", "all of them");
    cut(&mut bench, folder.path(), TURN);
    bench.assert_at_head();
}
