//! How much memory a piece of work takes at once: what damaged bytes claim must not become an allocation.
//!
//! In: work on this thread. Out: its peak in bytes. Invariants: each thread counts what it allocates and frees itself,
//! so tests that run at the same time do not see each other. It adds to the system's allocator and changes nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::read::plan::ScanPlan;
use rustling_engine::rows::change::WriteBatch;

use crate::fixture::{rows, schema};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes allocated less bytes freed by this thread; negative where it frees what another one allocated.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Neither cell has a destructor, so both can be asked at any time of a thread's life.
    HELD.with(|held| {
        held.set(held.get().wrapping_add(bytes));
        PEAK.with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(unsafe_code, reason = "the trait of allocators is unsafe; nothing but counting is added to the system's")]
// SAFETY: every call is passed on to the system's allocator as it came; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size().cast_signed().wrapping_neg());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed().wrapping_sub(layout.size().cast_signed()));
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does some work; returns also how many bytes this thread held at most beyond what it held before.
pub(crate) fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let done = work();
    let peak = PEAK.get().wrapping_sub(before);
    (done, usize::try_from(peak).unwrap_or(0))
}

#[test]
fn the_peak_of_some_work_is_counted() {
    let ((), peak) = peak_of(|| drop(std::hint::black_box(vec![0_u8; 5 << 20])));
    assert!((5 << 20..6 << 20).contains(&peak), "{peak}");
    let (kept, peak) = peak_of(|| vec![1_u8; 1000]);
    assert!((kept.len()..100_000).contains(&peak), "{peak}");
}

/// Each part had a copy of all keys of all chunks.
#[test]
fn the_parts_of_a_merge_in_memory_copy_each_key_once() {
    const KEYS: i64 = 600_000;
    let db = Database::open(Arc::new(MemoryDisk::new()), Options { background: false, ..Options::default() }).unwrap();
    db.create_table("t", &schema(), &["k"]).unwrap();
    for _ in 0..2 {
        let list: Vec<(i64, String)> = (0..KEYS).map(|key| (key, String::new())).collect();
        db.write(WriteBatch::new().upsert("t", rows(&list))).unwrap();
    }
    let table = db.snapshot().table("t").unwrap();
    let plan = ScanPlan::new(&table, 8).unwrap();
    let open = || plan.merged.iter().map(|part| part.open(&[]).unwrap()).collect::<Vec<_>>();
    let (parts, peak) = peak_of(open);
    let keys = 2 * usize::try_from(KEYS).unwrap() * size_of::<i64>();
    assert!(parts.len() >= 8 && peak < 2 * keys, "{} parts took {peak} bytes for {keys} bytes of keys", parts.len());
}
