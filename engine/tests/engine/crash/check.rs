//! Runs a script, then opens every image that a crash may have left of it.
//!
//! Beside the images of the script itself there are those of later lives: power is cut again while an image is
//! recovered, and during that recovery; a database that was recovered goes on and loses power again; a process is
//! killed, so that nothing is lost yet, and the next one loses power.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::{Image, SimDisk};

use crate::crash::examine::{examine, guarded, open};
use crate::crash::life::{States, left, live};
use crate::crash::replay;
use crate::crash::scripts::Script;
use crate::fixture::{Step, Tables};

/// So many violations are enough.
const VIOLATIONS_MAX: usize = 20;

/// Of how many images one is looked at, or has a further life.
struct Share {
    /// Recovery is cut off again.
    recovered: u128,
    /// That recovery is cut off, too.
    recovered_twice: u128,
    /// The database goes on with the rest of the script.
    gone_on: u128,
    /// Of the boundaries of a later life. Lives that begin one boundary apart are much the same, so they take turns.
    later_boundaries: usize,
    /// Of the images there.
    later: u128,
}

const SHARE: Share = Share { recovered: 10, recovered_twice: 50, gone_on: 150, later_boundaries: 16, later: 4 };

/// What checking a script found.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Places where power was cut, of the script itself.
    pub(crate) boundaries: u64,
    /// Images of the script itself that were checked: each once for what was acknowledged.
    pub(crate) images: u64,
    /// Images of recoveries that were cut off.
    pub(crate) recoveries: u64,
    /// Of those, the ones of a recovery behind a recovery that was cut off.
    pub(crate) second_recoveries: u64,
    /// Databases that went on after a crash or a kill, and lost power again.
    pub(crate) lives: u64,
    /// Images of those.
    pub(crate) later_images: u64,
    /// Images that no check of this run saw before, by their bytes. Of random scripts only those that hold a row of the
    /// script: its seed is in it, so no other seed has such an image.
    pub(crate) distinct: u64,
    /// What broke the promise.
    pub(crate) violations: Vec<String>,
}

impl Checked {
    pub(crate) fn add(&mut self, other: Self) {
        self.boundaries += other.boundaries;
        self.images += other.images;
        self.recoveries += other.recoveries;
        self.second_recoveries += other.second_recoveries;
        self.lives += other.lives;
        self.later_images += other.later_images;
        self.distinct += other.distinct;
        self.violations.extend(other.violations);
    }
}

/// What the checks of a run saw, all scripts together.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    images: Mutex<HashSet<u128>>,
    states: Mutex<HashSet<u64>>,
}

impl Seen {
    /// Number of different states that databases were found in.
    pub(crate) fn states(&self) -> u64 {
        self.states.lock().unwrap().len() as u64
    }
}

/// Checks a script on a simulated disk.
pub(crate) fn check(script: &Script, seen: &Seen) -> Checked {
    let mut check = Check::new(script, Some(seen));
    check.script(&|disk| Arc::new(disk.clone()));
    check.checked
}

/// Checks scripts on a disk that lets through only what `wrap` allows, until something breaks the promise. What later
/// lives find comes last, because it costs more.
pub(crate) fn first_violation(scripts: &[Script], wrap: &dyn Fn(&SimDisk) -> Arc<dyn Disk>) -> Option<String> {
    let first = |script: &Script, one_life: bool| {
        let mut check = Check { one_life, ..Check::new(script, None) };
        check.script(wrap);
        check.checked.violations.into_iter().next()
    };
    let scripts_twice =
        [true, false].into_iter().flat_map(|one_life| scripts.iter().map(move |script| (script, one_life)));
    scripts_twice.into_iter().find_map(|(script, one_life)| first(script, one_life))
}

/// Which life an image is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Script,
    Recovery,
    SecondRecovery,
    Later,
}

struct Check<'a> {
    script: &'a Script,
    /// Where images are counted; without, the first violation ends the check, and no file is written.
    seen: Option<&'a Seen>,
    /// Images that were checked, with what was allowed then.
    done: HashSet<(u128, u64)>,
    /// Only images of the script itself are opened.
    one_life: bool,
    checked: Checked,
}

impl<'a> Check<'a> {
    fn new(script: &'a Script, seen: Option<&'a Seen>) -> Self {
        Self { script, seen, done: HashSet::new(), one_life: false, checked: Checked::default() }
    }

    fn script(&mut self, wrap: &dyn Fn(&SimDisk) -> Arc<dyn Disk>) {
        let sim = SimDisk::new();
        let Script { options, steps, .. } = self.script;
        let empty = [Tables::new()];
        let lived = guarded(|| live(&sim, &wrap(&sim), options, steps, &empty));
        let states = match lived {
            Ok(states) => states,
            Err(problem) => return self.violation(&sim.killed_image(usize::MAX), &empty, "without a crash", &problem),
        };
        self.checked.boundaries = sim.boundaries() as u64;
        self.images(&sim, &states, Life::Script, "");
        for boundary in 0..if self.one_life { 0 } else { sim.boundaries() } {
            self.restart(&sim, boundary, &states);
        }
    }

    fn is_over(&self) -> bool {
        self.checked.violations.len() >= if self.seen.is_some() { VIOLATIONS_MAX } else { 1 }
    }

    /// Checks the images of all boundaries of a life; `before` says what was before it.
    fn images(&mut self, sim: &SimDisk, states: &States, life: Life, before: &str) {
        let allowed: Vec<(&[Tables], u64)> = states.iter().map(|allowed| (allowed.as_slice(), hash(allowed))).collect();
        let due =
            |boundary: usize| life != Life::Later || (boundary + before.len()).is_multiple_of(SHARE.later_boundaries);
        for boundary in (0..sim.boundaries()).filter(|boundary| due(*boundary)) {
            let marks = sim.marks(boundary).len();
            let (allowed, allowed_hash) = allowed[marks];
            sim.images(boundary, &mut |image| {
                let due = life != Life::Later || one_in(SHARE.later * cost(&image), image.digest());
                if due && !self.is_over() && self.done.insert((image.digest(), allowed_hash)) {
                    let place = || {
                        let cut = format!("boundary {boundary} ({})", sim.describe_boundary(boundary));
                        format!("{before}{cut}, {}", image.origin())
                    };
                    self.count(life);
                    self.image(&image, allowed, life, marks, &place);
                }
            });
        }
    }

    fn count(&mut self, life: Life) {
        match life {
            Life::Script => self.checked.images += 1,
            Life::Recovery => self.checked.recoveries += 1,
            Life::SecondRecovery => {
                self.checked.recoveries += 1;
                self.checked.second_recoveries += 1;
            }
            Life::Later => self.checked.later_images += 1,
        }
    }

    /// Counts an image that holds these tables if it is a new one.
    fn count_distinct(&mut self, image: &Image, found: &Tables) {
        let Some(seen) = self.seen else { return };
        seen.states.lock().unwrap().insert(hash(found));
        let own = !self.script.is_random || found.iter().any(|(name, rows)| name != AFTER && !rows.is_empty());
        let new = seen.images.lock().unwrap().insert(image.digest());
        self.checked.distinct += u64::from(new && own);
    }

    fn image(&mut self, image: &Image, allowed: &[Tables], life: Life, marks: usize, place: &dyn Fn() -> String) {
        let options = &self.script.options;
        let found = match guarded(|| examine(image, options, allowed)) {
            Ok(found) => found,
            Err(problem) => return self.violation(image, allowed, &place(), &problem),
        };
        self.count_distinct(image, &found);
        if self.one_life {
            return;
        }
        let (again, next) = match life {
            Life::Script => (SHARE.recovered, Life::Recovery),
            Life::Recovery => (SHARE.recovered_twice, Life::SecondRecovery),
            Life::SecondRecovery | Life::Later => return,
        };
        if one_in(again, image.digest() >> 32) {
            self.recover(image, allowed, next, place);
        }
        if life == Life::Script && one_in(SHARE.gone_on, image.digest() >> 64) {
            self.go_on(image, &found, marks, place);
        }
    }

    /// Power is cut again while the database recovers.
    fn recover(&mut self, image: &Image, allowed: &[Tables], life: Life, place: &dyn Fn() -> String) {
        let sim = image.clone().into_disk();
        // It was opened before, so it opens.
        let opened = guarded(|| open(&sim, &self.script.options).map(drop));
        if let Err(problem) = opened {
            return self.violation(image, allowed, &place(), &problem);
        }
        let before = format!("{}; while that was recovered, ", place());
        self.images(&sim, &vec![allowed.to_vec()], life, &before);
    }

    /// The recovered database does the rest of the script, and what else there is to do, and power is cut again.
    fn go_on(&mut self, image: &Image, found: &Tables, marks: usize, place: &dyn Fn() -> String) {
        let sim = image.clone().into_disk();
        let mut steps = left(&self.script.steps, marks.saturating_sub(1)).to_vec();
        steps.extend(follow_up());
        self.later(&sim, &steps, std::slice::from_ref(found), &format!("{}; after that was recovered, ", place()));
    }

    /// The process was killed; the next one finds everything, but what was pending may be lost later.
    fn restart(&mut self, sim: &SimDisk, boundary: usize, states: &States) {
        if self.is_over() {
            return;
        }
        let restarted = sim.restarted(boundary);
        let marks = sim.marks(boundary).len();
        let allowed = &states[marks];
        let before = format!("killed at boundary {boundary} ({}); after that, ", sim.describe_boundary(boundary));
        let steps = follow_up();
        // Most of what is to be found here is found with one write more.
        let steps = if boundary.is_multiple_of(8) { &steps[..] } else { &steps[..2] };
        self.later(&restarted, steps, allowed, &before);
    }

    fn later(&mut self, sim: &SimDisk, steps: &[Step], start: &[Tables], before: &str) {
        self.checked.lives += 1;
        let disk: Arc<dyn Disk> = Arc::new(sim.clone());
        match guarded(|| live(sim, &disk, &self.script.options, steps, start)) {
            Ok(states) => self.images(sim, &states, Life::Later, before),
            Err(problem) => self.violation(&sim.killed_image(0), start, before, &problem),
        }
    }

    fn violation(&mut self, image: &Image, allowed: &[Tables], place: &str, problem: &str) {
        let name = &self.script.name;
        let mut violation = format!("{name}: {place}: {problem}");
        if self.seen.is_some() {
            let failure = replay::Failure { script: self.script, place, problem, allowed };
            violation.push_str(&failure.save(image));
        }
        self.checked.violations.push(violation);
    }
}

/// The table that is written to after a crash.
const AFTER: &str = "after";

/// What is done after a crash, as far as it applies.
fn follow_up() -> Vec<Step> {
    let value = |word: &str| Some(word.to_owned());
    vec![
        Step::Create(AFTER),
        Step::Write(vec![(AFTER, 1, value("one")), (AFTER, 2, value("two"))]),
        Step::Flush(AFTER),
        Step::Load(AFTER, vec![(2, "loaded".to_owned()), (3, "loaded".to_owned())]),
        Step::Write(vec![(AFTER, 1, None)]),
        Step::Kill,
        Step::Compact(AFTER),
        Step::Write(vec![(AFTER, 4, value("four"))]),
    ]
}

/// How much dearer than a small image it is to open one, for a share of them.
fn cost(image: &Image) -> u128 {
    let bytes: usize = image.files().map(|(_, bytes)| bytes.len()).sum();
    1 + (bytes >> 15) as u128
}

fn one_in(share: u128, digest: u128) -> bool {
    (digest & u128::from(u32::MAX)).is_multiple_of(share)
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
