//! Which calls of a simulated disk fail, and how.
//!
//! In: faults by the index of a call. Out: what the call does. Invariants: every call counts, reads included, in the
//! order they reach the disk; a fault strikes once, a full disk until space is given back, a power cut for ever.

use std::collections::BTreeMap;
use std::io;

/// What a call asks of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `Disk::create_dir`.
    CreateDir,
    /// `Disk::list`.
    List,
    /// `Disk::sync_dir`.
    SyncDir,
    /// `Disk::create`.
    Create,
    /// `Disk::append`.
    OpenAppend,
    /// `Disk::open`.
    Open,
    /// `Disk::link`.
    Link,
    /// `Disk::rename`.
    Rename,
    /// `Disk::remove`.
    Remove,
    /// `Disk::remove_dir`.
    RemoveDir,
    /// `Disk::lock`.
    Lock,
    /// `WriteFile::append`.
    Append,
    /// `WriteFile::reserve`.
    Reserve,
    /// `WriteFile::give_back`.
    GiveBack,
    /// `WriteFile::sync`.
    SyncFile,
    /// `ReadFile::read_at`.
    ReadAt,
    /// `ReadFile::map`.
    Map,
}

impl Operation {
    /// Whether a full disk refuses it. Making a folder that is there already takes none, so folders pass.
    fn takes_space(self) -> bool {
        matches!(self, Self::Create | Self::Link | Self::Append | Self::Reserve)
    }
}

/// One call that reached the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What it asked for.
    pub operation: Operation,
    /// The path; of a link or rename the old one, of an open file the one it was opened by.
    pub path: String,
}

/// What a failing call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error of a kind.
    Kind(io::ErrorKind),
    /// An error number of the system.
    Errno(i32),
}

impl Failure {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Kind(kind) => kind.into(),
            Self::Errno(number) => io::Error::from_raw_os_error(number),
        }
    }
}

/// What a failing call does all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Before,
    /// Everything; only the answer is wrong. A lock is not taken.
    After,
    /// An append, a reservation or a read at an offset does half; other calls do nothing.
    Short,
    /// A sync of a file drops what it should have made durable: reads still find it, until the power goes. Other
    /// calls do nothing.
    Lost,
    /// Nothing, and no later call does anything either.
    PowerCut,
}

/// How one call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it answers.
    pub failure: Failure,
    /// What it does.
    pub effect: Effect,
}

/// What is left to do for a call that a fault does not stop at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Course {
    /// No fault: do it.
    Proceed,
    /// Do it, then answer with the failure.
    FailAfter(Failure),
    /// Do half of it, then answer with the failure.
    Half(Failure),
    /// Drop what is not durable, then answer with the failure.
    Drop(Failure),
}

#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    faults: BTreeMap<usize, Fault>,
    calls: Vec<Call>,
    /// The call from which on there is no space.
    full_from: Option<usize>,
    /// Why every call fails, once the power is cut.
    power_cut: Option<Failure>,
}

impl FaultPlan {
    pub(super) fn add(&mut self, call: usize, fault: Fault) {
        self.faults.insert(call, fault);
    }

    pub(super) fn set_full_from(&mut self, call: Option<usize>) {
        self.full_from = call;
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn is_power_cut(&self) -> bool {
        self.power_cut.is_some()
    }

    /// Counts a call and says what becomes of it; an error if it does nothing.
    pub(super) fn enter(&mut self, operation: Operation, path: &str) -> io::Result<Course> {
        let index = self.calls.len();
        let fault = self.faults.remove(&index);
        self.calls.push(Call { operation, path: path.to_owned() });
        if let Some(failure) = self.power_cut {
            return Err(failure.error());
        }
        let Some(Fault { failure, effect }) = fault else {
            let full = operation.takes_space() && self.full_from.is_some_and(|from| index >= from);
            return if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(Course::Proceed) };
        };
        match (effect, operation) {
            (Effect::After, _) => Ok(Course::FailAfter(failure)),
            (Effect::Short, Operation::Append | Operation::Reserve | Operation::ReadAt) => Ok(Course::Half(failure)),
            (Effect::Lost, Operation::SyncFile) => Ok(Course::Drop(failure)),
            (Effect::Before | Effect::Short | Effect::Lost, _) => Err(failure.error()),
            (Effect::PowerCut, _) => {
                self.power_cut = Some(failure);
                Err(failure.error())
            }
        }
    }
}
