//! What processes and folders use, read from the kernel.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut parents: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in brackets may hold anything: what counts stands behind it.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            parents.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        found.extend(parents.get(&pid).into_iter().flatten());
        at += 1;
    }
    found
}

/// Proportional set size of a process and its descendants, bytes: shared pages are counted once over all who share them.
pub fn pss(root: u32) -> u64 {
    tree(root).into_iter().filter_map(pss_of_one).sum()
}

fn pss_of_one(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Open descriptors of a process.
pub fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Memory mappings of a process.
pub fn mappings(pid: u32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).map_or(0, |maps| maps.lines().count())
}

/// Bytes of disk that a folder takes: blocks, not lengths.
pub fn disk_bytes(folder: &Path) -> u64 {
    let own = std::fs::symlink_metadata(folder).map_or(0, |metadata| metadata.blocks() * 512);
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| disk_bytes(&entry.path()));
    own + below.sum::<u64>()
}
