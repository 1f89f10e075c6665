//! Power is cut at every I/O call of some scripts, in every way the disk may have kept or lost what was not synced.
//!
//! The oracle: what opens afterwards is what was acknowledged, or that plus the one step in flight. Nothing else. What
//! opened is there to stay, and the database goes on with it, until power is cut again.
//!
//! `scripts` and `random` say what happens to a database, `life` does it and notes what may be found when, `interrupt`
//! lets it happen in the middle of a compaction, `check` takes the images of every boundary, `examine` opens one, `replay`
//! keeps the ones that fail, `campaign` are the tests, `stories` the crashes that were worth a name.

mod campaign;
mod check;
mod examine;
mod interrupt;
mod life;
mod random;
mod replay;
mod scripts;
mod stories;

pub(crate) use crate::crash::check::first_violation;
pub(crate) use crate::crash::life::{allowed_after, applies, live};
pub(crate) use crate::crash::random::script as random_script;
pub(crate) use crate::crash::scripts::{Script, scripts};
