//! How many files the process may have open: as many as the system lets it.
//!
//! Invariants: called before there are threads. A run takes a file descriptor for as long as its database is open, two
//! where it deletes keys, and the limit that a shell gives is 1,024 as a rule, far below what the system allows.

/// Raises the limit as far as the system lets it; where it does not, it stays.
#[cfg(unix)]
#[expect(unsafe_code, reason = "C functions")]
pub(crate) fn allow_many_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both get a valid pointer to a struct of their own, which they fill, or read, and keep none of it.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && limit.rlim_cur < limit.rlim_max {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// Other systems have what they have.
#[cfg(not(unix))]
pub(crate) fn allow_many_open_files() {}
