//! Real threads: writers, readers, flushes, compactions and loads at once.

mod closing;
mod model;
mod promises;
mod stalls;
