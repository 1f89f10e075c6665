//! A database on a disk that may fail, with the rows it must hold.
//!
//! Invariants: a step that fails without poisoning the handle did nothing, and the same handle goes on. A poisoned
//! handle reads on and refuses writes; what it did last is there after reopening or not.

use std::sync::Arc;

use rustling_engine::config::Options;
use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::SimDisk;
use rustling_engine::error::{Damage, Error, ErrorKind};
use rustling_engine::rows::change::WriteBatch;

use crate::crash::{allowed_after, applies};
use crate::fixture::{Step, Tables, contents, run, run_model};

/// Of the images of a power cut that comes after the fault one in so many is opened.
const IMAGES_SHARE: u128 = 3;

/// What a test found wrong, as a sentence.
pub(super) type Verdict<T = ()> = Result<T, String>;

pub(super) struct Handle {
    pub(super) sim: SimDisk,
    disk: Arc<dyn Disk>,
    options: Options,
    db: Database,
    pub(super) model: Tables,
    /// Calls that returned an error.
    pub(super) failures: usize,
    /// Whether a step poisoned the handle, so that it was opened again.
    pub(super) was_poisoned: bool,
}

impl Handle {
    /// Opens the database, again if the first time fails, and expects one of some states.
    pub(super) fn open(sim: &SimDisk, options: &Options, allowed: &[Tables]) -> Verdict<Self> {
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        let opened = Database::open(disk.clone(), options.clone());
        let failures = usize::from(opened.is_err());
        let db = match opened {
            Ok(db) => db,
            Err(error) => {
                check_told(&error)?;
                Database::open(disk.clone(), options.clone())
                    .map_err(|error| format!("does not open again: {error}"))?
            }
        };
        let (sim, options) = (sim.clone(), options.clone());
        let mut handle = Self { sim, disk, options, db, model: Tables::new(), failures, was_poisoned: false };
        handle.model = handle.read()?;
        if allowed.contains(&handle.model) {
            Ok(handle)
        } else {
            Err(format!("opened it holds {:?}, allowed is {allowed:?}", handle.model))
        }
    }

    /// Reads everything, again if the first time fails.
    fn read(&mut self) -> Verdict<Tables> {
        contents(&self.db).or_else(|error| {
            self.failures += 1;
            check_told(&error)?;
            contents(&self.db).map_err(|error| format!("does not read again: {error}"))
        })
    }

    fn is_poisoned(&self) -> bool {
        matches!(self.db.write(&WriteBatch::new()), Err(Error::Poisoned { .. }))
    }

    /// Does a step, if it applies, and judges its failure.
    pub(super) fn step(&mut self, step: &Step) -> Verdict {
        if !applies(step, &self.model) {
            return Ok(());
        }
        if let Step::CompactWhile(table, _, steps) = step {
            // Each of its steps fails, or not, by itself.
            self.step(&Step::Compact(table))?;
            return steps.iter().try_for_each(|step| self.step(step));
        }
        let Err(error) = run(&mut self.db, &self.disk, &self.options, step) else {
            run_model(&mut self.model, step);
            return Ok(());
        };
        self.failures += 1;
        check_told(&error)?;
        if matches!(step, Step::Reopen | Step::Kill) {
            return self.reopen_same();
        }
        let found = self.read()?;
        if found != self.model {
            return Err(format!("{step:?} failed ({error}) and left {found:?}, expected {:?}", self.model));
        }
        if !self.is_poisoned() {
            return Ok(());
        }
        self.was_poisoned = true;
        let mut allowed = allowed_after(step, &self.model);
        allowed.push(found);
        self.reopen(&allowed)
    }

    /// Opens the database again, without closing it.
    fn reopen(&mut self, allowed: &[Tables]) -> Verdict {
        let elsewhere = Database::open(Arc::new(SimDisk::new()), self.options.clone()).unwrap();
        drop(std::mem::replace(&mut self.db, elsewhere));
        let Self { failures, was_poisoned, .. } = *self;
        *self = Self::open(&self.sim, &self.options, allowed)?;
        self.failures += failures;
        self.was_poisoned = was_poisoned;
        Ok(())
    }

    fn reopen_same(&mut self) -> Verdict {
        let model = self.model.clone();
        self.reopen(std::slice::from_ref(&model))
    }

    /// Does steps that all have to succeed.
    pub(super) fn go_on(&mut self, steps: &[Step]) -> Verdict {
        for step in steps {
            if !applies(step, &self.model) {
                continue;
            }
            run(&mut self.db, &self.disk, &self.options, step)
                .map_err(|error| format!("now {step:?} fails: {error}"))?;
            run_model(&mut self.model, step);
        }
        let found = self.read()?;
        if found == self.model { Ok(()) } else { Err(format!("it holds {found:?}, expected {:?}", self.model)) }
    }

    /// The fault is over: the same handle works, keeps what it has, and a power cut takes nothing.
    pub(super) fn recovered(&mut self, images: bool) -> Verdict {
        let value = |word: &str| Some(word.to_owned());
        self.go_on(&[
            Step::Create("z"),
            Step::Write(vec![("z", 1, value("one")), ("z", 2, value("two"))]),
            Step::Flush("z"),
            Step::Load("z", vec![(2, "loaded".to_owned())]),
            Step::Compact("z"),
            Step::Write(vec![("z", 3, value("three"))]),
        ])?;
        if images {
            self.check_images()?;
        }
        self.reopen_same()
    }

    /// Whatever a power cut takes now, all that was acknowledged is there.
    fn check_images(&self) -> Verdict {
        let mut verdict = Ok(());
        self.sim.images(self.sim.boundaries() - 1, &mut |image| {
            if verdict.is_err() || !image.digest().is_multiple_of(IMAGES_SHARE) {
                return;
            }
            let origin = image.origin();
            let opened = Database::open(Arc::new(image.into_disk()), self.options.clone());
            verdict = match opened.and_then(|db| contents(&db)) {
                Ok(found) if found == self.model => Ok(()),
                Ok(found) => Err(format!("{origin}: it holds {found:?}, expected {:?}", self.model)),
                Err(error) => Err(format!("{origin}: {error}")),
            };
        });
        verdict
    }
}

/// An error of the disk is told as one, with the file. Only a file that ends early may be told as damage.
fn check_told(error: &Error) -> Verdict {
    match error.kind() {
        ErrorKind::Io | ErrorKind::Poisoned => Ok(()),
        ErrorKind::Corrupt if matches!(error, Error::Corrupt { damage: Damage::Truncated { .. }, .. }) => Ok(()),
        kind => Err(format!("an error of the disk is told as {kind:?}: {error}")),
    }
}
