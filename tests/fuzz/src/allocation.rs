//! Counts what a thread has allocated while it reads hostile bytes.
//!
//! In: every allocation of the process, once a binary makes [`Counting`] its global allocator. Out: [`peak`], the most
//! bytes that this thread had at one time since [`reset`].
//! Invariants: a count is of one thread, so targets can run beside each other; what a thread gives to another one
//! stays counted where it was allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// More than any body may ask for in one piece: the process would end anyway, so it ends with a word.
const HOPELESS_BYTES: usize = 64 << 30;

/// The system's allocator, counted.
pub struct Counting;

/// What one thread holds.
struct Count {
    live: Cell<usize>,
    peak: Cell<usize>,
    /// What is being run, for the last word.
    place: Cell<(u64, u64)>,
}

thread_local! {
    static COUNT: Count = const { Count { live: Cell::new(0), peak: Cell::new(0), place: Cell::new((0, 0)) } };
}

/// Starts to count anew, and notes the seed and the execution that begin.
pub fn reset(seed: u64, execution: u64) {
    COUNT.with(|count| {
        count.live.set(0);
        count.peak.set(0);
        count.place.set((seed, execution));
    });
}

/// The most bytes that this thread had allocated at one time since the last [`reset`].
pub fn peak() -> usize {
    COUNT.with(|count| count.peak.get())
}

fn add(bytes: usize) {
    // A thread that ends has no count any more.
    let _ = COUNT.try_with(|count| {
        let live = count.live.get().saturating_add(bytes);
        count.live.set(live);
        count.peak.set(count.peak.get().max(live));
        if bytes > HOPELESS_BYTES {
            let (seed, execution) = count.place.get();
            last_word(bytes, seed, execution);
        }
    });
}

/// What was allocated before the count began may be given back, too.
fn subtract(bytes: usize) {
    let _ = COUNT.try_with(|count| count.live.set(count.live.get().saturating_sub(bytes)));
}

#[cold]
#[expect(clippy::print_stderr, reason = "nothing else works any more")]
fn last_word(bytes: usize, seed: u64, execution: u64) {
    eprintln!("seed {seed}, execution {execution}: a single allocation of {bytes} bytes");
}

#[expect(unsafe_code, reason = "a global allocator is unsafe to implement; this one only counts what System does")]
// SAFETY: every call goes to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promise is the one that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        subtract(layout.size());
        add(new_size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
