//! How much memory this process may use.
//!
//! In: what the system says. Out: bytes. Nothing is assumed where the system says nothing: then there is no answer.

use std::path::Path;

/// The memory that processes of this machine, or of this container, may use together, in bytes; `None` if the system
/// does not say.
pub fn available_bytes() -> Option<u64> {
    let machine = machine_bytes(&std::fs::read_to_string("/proc/meminfo").ok()?);
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(Path::new(path)).ok()?.trim().parse().ok());
    container.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`, which is in KiB.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_read_in_kib() {
        assert_eq!(machine_bytes("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16_384));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
    }
}
