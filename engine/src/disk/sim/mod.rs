//! A disk that fails and loses power on demand: for tests of crash safety, ours and those of programs on top.
//!
//! In: the calls of the engine under test, [`Fault`]s by call, marks by the test ("this was acknowledged"). Out: at any
//! boundary between two changes all [`Image`]s that a crash may leave, each of which becomes a [`SimDisk`] again.
//!
//! The rules are those POSIX states, weaker than any file system we know: syncing a file makes its bytes durable and no
//! name, syncing a folder makes its names durable and no bytes, and of what was not synced any part may be there. Of
//! the names not synced, an image has the first `k`, for every `k`, or all but one. Of the bytes not synced, it has
//! none, or all, with one file at a time varied over the first `k` writes (appends and reservations), the last of them
//! whole, torn, zeros or without some of its sectors, and all writes but one; and some images in which two files are cut
//! differently. A rename within a folder is atomic; between folders it is a new name and a lost one. After a process was
//! killed ([`SimDisk::restarted`]) all this is pending still.
//!
//! ```
//! use rustling_engine::disk::api::Disk;
//! use rustling_engine::disk::sim::SimDisk;
//!
//! let disk = SimDisk::new();
//! let mut file = disk.create("a")?;
//! file.append(b"acknowledged")?;
//! file.sync()?;
//! disk.sync_dir("")?;
//! disk.mark(1);
//! for boundary in 0..disk.boundaries() {
//!     let acknowledged = disk.marks(boundary).contains(&1);
//!     disk.images(boundary, &mut |image| {
//!         assert!(!acknowledged || image.file("a") == Some(b"acknowledged"), "lost in {}", image.origin());
//!     });
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

// What a test plans, and what is noted.
mod fault;

mod journal;

// From the notes to images.
mod cut;

mod sector;

mod image;

mod model;

mod variant;

// The disk itself.
mod disk;

mod calls;

pub use crate::disk::sim::cut::{DataCut, NameCut, Origin};
pub use crate::disk::sim::disk::SimDisk;
pub use crate::disk::sim::fault::{Call, Effect, Failure, Fault, Operation};
pub use crate::disk::sim::image::Image;

#[cfg(test)]
mod tests;
