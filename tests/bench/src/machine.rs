//! What it was measured on, as the machine says it itself.

use std::path::Path;
use std::process::Command;

fn line(path: &str, prefix: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(prefix))?;
    Some(line.rsplit(':').next().unwrap_or(line).trim().to_owned())
}

/// The device and file system below a folder.
fn disk(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.next()?, fields.next()?, fields.next()?))
        })
        .filter(|(_, at, _)| folder.starts_with(at))
        .max_by_key(|(_, at, _)| at.len());
    mount.map_or_else(|| "an unknown disk".to_owned(), |(device, _, kind)| format!("{kind} on {device}"))
}

/// The load of the last minute: whether the machine was quiet.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

/// One line: cores, processor, memory, kernel, limits.
pub fn describe(disk_folder: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let memory = line("/proc/meminfo", "MemTotal").unwrap_or_default();
    let gib = memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / (1024 * 1024);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    let descriptors = line("/proc/self/limits", "Max open files").unwrap_or_default();
    let descriptors = descriptors.split_whitespace().nth(4).unwrap_or("?");
    format!(
        "{cores} cores, {cpu}, {gib} GiB, Linux {}; free fsync: tmpfs; real fsync: {}; at most {descriptors} descriptors \
         and {} memory mappings a process",
        kernel.trim(),
        disk(disk_folder),
        maps.trim()
    )
}

/// The commit that is measured, marked when the work tree differs from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(podium_it::root()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let changed = git(&["status", "--porcelain", "--", ".", ":!docs"]).is_some_and(|changed| !changed.is_empty());
    if changed { format!("{commit} with changes") } else { commit }
}

/// Today, as UTC.
pub fn day() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map_or_else(
        |_| "an unknown day".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
