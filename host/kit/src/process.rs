//! What this process uses: memory and descriptors, as the kernel counts them.

/// Resources in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Open descriptors.
    pub open_descriptors: u64,
    /// The most there may be (soft limit).
    pub descriptor_limit: u64,
}

/// Reads `/proc/self`; what cannot be read is 0. Blocking, and its time grows with the descriptors.
pub fn usage() -> Usage {
    let resident_kib = std::fs::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    Usage {
        memory_bytes: resident_kib.unwrap_or(0) * 1024,
        open_descriptors: std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        descriptor_limit: limit.unwrap_or(u64::MAX),
    }
}
