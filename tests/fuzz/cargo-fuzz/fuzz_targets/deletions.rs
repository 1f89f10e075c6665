//! libFuzzer over the body `deletions`; see `rustling_fuzz::targets::deletions`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustling_fuzz::allocation::Counting;
use rustling_fuzz::run::{keep_promise, quiet};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: quiet(), |data: &[u8]| keep_promise("deletions", data));
