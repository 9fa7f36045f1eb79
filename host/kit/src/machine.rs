//! What this process may use of its machine: memory, threads and processors, by the kernel's count and by its control groups'.
//!
//! Owns the reading of `/proc` and of control groups, version 2: a container's bounds are theirs, and the machine's own numbers
//! tell nothing of them. Must never fail: what cannot be read is no bound.

use std::path::{Path, PathBuf};

/// Where control groups are, on every system with version 2 alone.
const GROUPS: &str = "/sys/fs/cgroup";
/// Which one this process is in.
const OWN_GROUP: &str = "/proc/self/cgroup";
/// What the kernel says of memory.
const MEMORY: &str = "/proc/meminfo";

/// Memory within one bound, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All that there is.
    pub total: u64,
    /// What can still be had.
    pub available: u64,
}

impl Memory {
    /// The machine's.
    fn of_machine(meminfo: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { total: bytes("MemTotal:")?, available: bytes("MemAvailable:")? })
    }
}

/// The control group of this process and those above it: each of them bounds it.
#[derive(Debug, Clone)]
pub struct Groups(Vec<PathBuf>);

impl Groups {
    /// This process's.
    pub fn own() -> Self {
        let own = std::fs::read_to_string(OWN_GROUP).unwrap_or_default();
        // Version 2 has one line of this form; with version 1 there is none.
        let path = own.lines().find_map(|line| line.strip_prefix("0::"));
        path.map_or_else(|| Self(Vec::new()), |path| Self::at(Path::new(GROUPS), path))
    }

    /// The group at this path below a root, as `/proc/self/cgroup` writes it.
    fn at(root: &Path, path: &str) -> Self {
        let own = root.join(path.trim_start_matches('/'));
        Self(own.ancestors().take_while(|folder| folder.starts_with(root)).map(Path::to_owned).collect())
    }

    /// A file of each group that has it.
    fn files<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Path, String)> {
        let read = move |group: &'a PathBuf| Some((group.as_path(), std::fs::read_to_string(group.join(name)).ok()?));
        self.0.iter().filter_map(read)
    }

    /// The group with the least memory left. Pages of files that nobody has used lately count as left: the kernel takes
    /// them back before it runs out.
    pub fn memory(&self) -> Option<Memory> {
        let bounds = self.files("memory.max").filter_map(|(group, max)| {
            let total: u64 = max.trim().parse().ok()?;
            let used: u64 = std::fs::read_to_string(group.join("memory.current")).ok()?.trim().parse().ok()?;
            let stat = std::fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
            let idle = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse().ok());
            Some(Memory { total, available: total.saturating_sub(used.saturating_sub(idle.unwrap_or(0))) })
        });
        bounds.min_by_key(|bound| bound.available)
    }

    /// Threads and processes that may be, the group's others included.
    pub fn threads(&self) -> Option<u64> {
        self.files("pids.max").filter_map(|(_, max)| max.trim().parse().ok()).min()
    }

    /// Processor time a second, in thousandths of a processor.
    pub fn milli_processors(&self) -> Option<u64> {
        let of = |max: String| {
            let (quota, period) = max.trim().split_once(' ')?;
            quota.parse::<u64>().ok()?.saturating_mul(1000).checked_div(period.parse().ok()?)
        };
        self.files("cpu.max").filter_map(|(_, max)| of(max)).min()
    }
}

/// The machine's memory.
pub fn memory() -> Option<Memory> {
    Memory::of_machine(&std::fs::read_to_string(MEMORY).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_on_the_way_up_is_a_bound() {
        let root = tempfile::tempdir().expect("a folder");
        let group = |path: &str, files: &[(&str, &str)]| {
            let folder = root.path().join(path);
            std::fs::create_dir_all(&folder).expect("a folder");
            files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).expect("a file"));
        };
        group("", &[("cpu.max", "150000 100000\n"), ("pids.max", "max\n")]);
        group("pods", &[("memory.max", "1000\n"), ("memory.current", "900\n"), ("pids.max", "500\n")]);
        group("pods/one", &[("memory.max", "max\n"), ("memory.current", "900\n"), ("pids.max", "700\n")]);
        group("pods/one", &[("cpu.max", "max 100000\n")]);
        let groups = Groups::at(root.path(), "/pods/one");
        assert_eq!(groups.memory(), Some(Memory { total: 1000, available: 100 }));
        assert_eq!((groups.threads(), groups.milli_processors()), (Some(500), Some(1500)));
        // Pages of files can be had back; the tightest bound counts, not the smallest.
        group("pods", &[("memory.stat", "anon 500\ninactive_file 300\nactive_file 1\n")]);
        assert_eq!(groups.memory(), Some(Memory { total: 1000, available: 400 }));
        group("pods/one", &[("memory.max", "5000\n"), ("memory.current", "4999\n")]);
        assert_eq!(groups.memory(), Some(Memory { total: 5000, available: 1 }));
    }

    #[test]
    fn what_is_not_there_or_makes_no_sense_is_no_bound() {
        let root = tempfile::tempdir().expect("a folder");
        let groups = Groups::at(root.path(), "/nowhere");
        assert_eq!((groups.memory(), groups.threads(), groups.milli_processors()), (None, None, None));
        for (name, text) in [("memory.max", "-1"), ("memory.current", ""), ("pids.max", "many"), ("cpu.max", "1 0")] {
            std::fs::write(root.path().join(name), text).expect("a file");
        }
        let groups = Groups::at(root.path(), "/");
        assert_eq!((groups.memory(), groups.threads(), groups.milli_processors()), (None, None, None));
        assert_eq!(Memory::of_machine("MemTotal: 12 kB\n"), None);
        let machine = Memory::of_machine("MemTotal:       4 kB\nMemFree: 1 kB\nMemAvailable:   3 kB\n");
        assert_eq!(machine, Some(Memory { total: 4096, available: 3072 }));
    }
}
