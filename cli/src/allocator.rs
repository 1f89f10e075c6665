//! What becomes of freed memory: it goes back to the system, so that a memory limit holds for the process.
//!
//! Invariants: called before there are threads. Large buffers, which most memory is in, are mapped one by one, and
//! unmapped when they are freed. glibc does so as well, but moves the threshold to the largest buffer that it saw
//! freed, up to 32 MiB; smaller ones then stay with the heap that had them.

/// Buffers of so many bytes are mapped, and so many free bytes stay at the end of a heap.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const THRESHOLD_BYTES: libc::c_int = 1 << 20;

/// Tells glibc; other systems have what they have.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a C function")]
pub(crate) fn give_freed_memory_back() {
    // SAFETY: it takes two numbers and changes how later allocations are served. One that it does not know is ignored.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, THRESHOLD_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, THRESHOLD_BYTES);
    }
}

/// Tells glibc; other systems have what they have.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn give_freed_memory_back() {}
