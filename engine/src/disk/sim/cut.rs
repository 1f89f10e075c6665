//! Where a crash cuts what was not synced.
//!
//! In: how many changes are pending. Out: every cut of the set that [`crate::disk::sim`] describes.
//! Invariants: `index` counts pending changes from 0, oldest first.

use std::fmt;

use crate::disk::tree::InodeId;

/// Which of the pending changes of names took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCut {
    /// The first ones.
    First(usize),
    /// All but the one at this index.
    AllBut(usize),
}

impl NameCut {
    /// Every cut of `pending` changes. All but the last is the first ones, so it is not named twice.
    pub(super) fn all(pending: usize) -> impl Iterator<Item = Self> {
        (0..=pending).map(Self::First).chain((0..pending.saturating_sub(1)).map(Self::AllBut))
    }

    pub(super) fn keeps(self, index: usize) -> bool {
        match self {
            Self::First(count) => index < count,
            Self::AllBut(dropped) => index != dropped,
        }
    }
}

impl fmt::Display for NameCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(count) => write!(f, "the first {count} pending names"),
            Self::AllBut(index) => write!(f, "all pending names but number {index}"),
        }
    }
}

/// Which of the pending changes of a file's bytes took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataCut {
    /// The first ones.
    First(usize),
    /// The ones before `index`, and of the write at `index` the first `bytes`.
    Torn {
        /// The torn write.
        index: usize,
        /// What there is of it.
        bytes: usize,
    },
    /// The ones before the index, and zeros instead of the write at the index.
    Zeros(usize),
    /// The ones before `index`, and the write at `index` without some sectors, which are zeros or what was there.
    Sectors {
        /// The write.
        index: usize,
        /// The sectors that it lacks: a bit for each, again from the lowest one on after 64.
        lost: u64,
    },
    /// All but the one at this index; where it was a write behind the end, zeros fill the hole.
    AllBut(usize),
}

impl fmt::Display for DataCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(count) => write!(f, "its first {count} pending changes"),
            Self::Torn { index, bytes } => write!(f, "its first {index} pending changes and {bytes} bytes of the next"),
            Self::Zeros(index) => write!(f, "its first {index} pending changes and zeros for the next"),
            Self::Sectors { index, lost } => {
                write!(f, "its first {index} pending changes and the next without sectors {lost:#b}")
            }
            Self::AllBut(index) => write!(f, "all its pending changes but number {index}"),
        }
    }
}

/// How an image came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The process died and nothing was lost.
    Killed,
    /// The power went.
    PowerCut {
        /// Which names it has.
        names: NameCut,
        /// Whether files have all their pending bytes, or none.
        data: bool,
        /// The inode that is an exception from that, by number, and what it has.
        except: Option<(u64, DataCut)>,
        /// A second exception.
        also: Option<(u64, DataCut)>,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::PowerCut { names, data, except, also } = self else {
            return write!(f, "process killed, nothing lost");
        };
        write!(f, "power cut: {names}; {} pending bytes", if *data { "all" } else { "no" })?;
        let mut exceptions = except.iter().chain(also);
        exceptions.try_for_each(|(inode, cut)| write!(f, ", but of {} {cut}", InodeId(*inode)))
    }
}
