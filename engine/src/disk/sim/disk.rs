//! The simulated disk: what it is, how it fails, what a crash of it leaves.
//!
//! In: faults, marks, and the calls of [`crate::disk::sim::calls`]. Out: crash images of every moment of its past.
//! Invariants: a call's effect on the live state and its entry in the journal are one step under one lock. A lock of the
//! disk dies with the power and is in no image.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::disk::sim::fault::{Call, Course, Fault, FaultPlan, Operation};
use crate::disk::sim::image::Image;
use crate::disk::sim::journal::Change;
use crate::disk::sim::model::Model;
use crate::disk::sim::variant::{killed_image, visit_images};
use crate::disk::tree::Tree;

/// A disk in memory that remembers every change, fails as planned, and computes what a crash would leave. A clone is the
/// same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

pub(super) struct State {
    pub(super) live: Tree,
    /// What the disk began with.
    base: Base,
    /// What the numbers of [`crate::disk::api::Disk::random`] are made of, and how many there were.
    random: (u128, u64),
    pub(super) journal: Vec<Change>,
    pub(super) plan: FaultPlan,
    /// The model after so many changes: tests walk boundaries in ascending order.
    model: Option<(usize, Model)>,
}

/// What a disk began with.
enum Base {
    /// An image, all of it durable.
    Durable(Image),
    /// What a killed process left, with what was pending then.
    Pending(Model),
}

impl Base {
    fn model(&self) -> Model {
        match self {
            Self::Durable(image) => Model::new(image),
            Self::Pending(model) => model.clone(),
        }
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let image = Image::empty();
        Self::with_base(image.digest(), Base::Durable(image), Tree::new())
    }

    fn with_base(seed: u128, base: Base, live: Tree) -> Self {
        let (journal, plan) = (Vec::new(), FaultPlan::default());
        let state = State { live, base, random: (seed, 0), journal, plan, model: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Makes the call with this index (from 0, in the order calls reach the disk) fail.
    pub fn fail_at(&self, call: usize, fault: Fault) {
        self.state().plan.add(call, fault);
    }

    /// Makes every call from this index on that takes space fail, until [`SimDisk::free_space`]; reading, syncing and
    /// removing work.
    pub fn fill_at(&self, call: usize) {
        self.state().plan.set_full_from(Some(call));
    }

    /// Gives back the space that [`SimDisk::fill_at`] took.
    pub fn free_space(&self) {
        self.state().plan.set_full_from(None);
    }

    /// The calls so far; the index of a call is its place in them.
    pub fn calls(&self) -> Vec<Call> {
        self.state().plan.calls().to_vec()
    }

    /// Notes in the journal that something happened here, such as an acknowledgement; nothing once the power is cut.
    pub fn mark(&self, mark: u64) {
        let mut state = self.state();
        if !state.plan.is_power_cut() {
            state.journal.push(Change::Mark(mark));
        }
    }

    /// The number of boundaries: before the first change of the journal, and behind each change and mark. Boundary `n`
    /// is behind the first `n` of them.
    pub fn boundaries(&self) -> usize {
        self.state().journal.len() + 1
    }

    /// The marks before a boundary.
    pub fn marks(&self, boundary: usize) -> Vec<u64> {
        let marks = |change: &Change| {
            if let Change::Mark(mark) = change { Some(*mark) } else { None }
        };
        self.state().journal.iter().take(boundary).filter_map(marks).collect()
    }

    /// What was done right before a boundary, for the message of a failed test.
    pub fn describe_boundary(&self, boundary: usize) -> String {
        let change = boundary.checked_sub(1).and_then(|index| self.state().journal.get(index).map(Change::to_string));
        change.unwrap_or_else(|| "nothing".to_owned())
    }

    /// What a killed process leaves at a boundary: every change before it, synced or not.
    pub fn killed_image(&self, boundary: usize) -> Image {
        let (at, model) = self.model(boundary);
        let image = killed_image(&model);
        self.state().model = Some((at, model));
        image
    }

    /// The disk on which the next process starts when the one before was killed at a boundary: nothing is lost, and what
    /// was pending is pending still. A power cut may take it later.
    pub fn restarted(&self, boundary: usize) -> Self {
        let (at, model) = self.model(boundary);
        let image = killed_image(&model);
        let mut live = image.to_tree();
        live.skip_inodes(model.next_inode());
        let restarted = Self::with_base(image.digest() ^ at as u128, Base::Pending(model.clone()), live);
        self.state().model = Some((at, model));
        restarted
    }

    /// Visits every image that a crash at a boundary may leave, each once; the first is [`SimDisk::killed_image`].
    ///
    /// The number grows with the product of what is pending in folders and in files. Ascending boundaries are cheapest.
    pub fn images(&self, boundary: usize, visit: &mut dyn FnMut(Image)) {
        // Not under the lock: the visitor may ask this disk.
        let (at, model) = self.model(boundary);
        visit_images(&model, visit);
        self.state().model = Some((at, model));
    }

    /// The model at a boundary, or at the last one if there are not so many.
    fn model(&self, boundary: usize) -> (usize, Model) {
        let mut state = self.state();
        let boundary = boundary.min(state.journal.len());
        let kept = state.model.take().filter(|(at, _)| *at <= boundary);
        let (at, mut model) = kept.unwrap_or_else(|| (0, state.base.model()));
        state.journal[at..boundary].iter().for_each(|change| model.apply(change));
        (boundary, model)
    }

    /// A step leaves the state whole before it can panic.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn next_random(&self) -> u128 {
        let mut state = self.state();
        let (seed, count) = &mut state.random;
        *count += 1;
        xxh3_128_with_seed(&seed.to_le_bytes(), *count)
    }

    /// Counts a call and runs it, unless a fault says otherwise.
    pub(super) fn call<T>(
        &self,
        operation: Operation,
        path: &str,
        run: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        match state.plan.enter(operation, path)? {
            Course::Proceed => run(&mut state),
            Course::FailAfter(failure) => run(&mut state).and(Err(failure.error())),
            // The plan answers so to the calls that can do half or drop bytes; they ask it themselves.
            Course::Half(failure) | Course::Drop(failure) => Err(failure.error()),
        }
    }
}

impl Image {
    /// A fresh simulated disk on which everything in the image, and nothing else, is durable.
    pub fn into_disk(self) -> SimDisk {
        let live = self.to_tree();
        SimDisk::with_base(self.digest(), Base::Durable(self), live)
    }

    fn to_tree(&self) -> Tree {
        let files = self.contents().map(|(path, inode, content)| (&**path, inode, Arc::clone(content.bytes())));
        Tree::from_durable(self.folders(), files)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimDisk")
            .field("changes", &state.journal.len())
            .field("calls", &state.plan.calls().len())
            .field("power_cut", &state.plan.is_power_cut())
            .finish_non_exhaustive()
    }
}
