//! libFuzzer over the body `schema_text`; see `rustling_fuzz::targets::schema_text`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rustling_fuzz::allocation::Counting;
use rustling_fuzz::run::{keep_promise, quiet};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_target!(init: quiet(), |data: &[u8]| keep_promise("schema_text", data));
