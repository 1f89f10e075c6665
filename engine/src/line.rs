//! A line of those who wait.
//!
//! In: who comes, who leaves. Out: whose turn it is.
//! Invariants: it is the turn of who has waited longest; who comes now passes nobody.

use std::collections::BTreeSet;

/// Those who wait, in the order in which they came.
#[derive(Debug, Default)]
pub struct Line {
    waiting: BTreeSet<u64>,
    next: u64,
}

impl Line {
    /// Takes the last place.
    pub fn join(&mut self) -> u64 {
        let place = self.next;
        self.waiting.insert(place);
        self.next += 1;
        place
    }

    /// Gives a place up.
    pub fn leave(&mut self, place: u64) {
        self.waiting.remove(&place);
    }

    /// Whether it is the turn of who has this place, or of who came just now and has none.
    pub fn is_next(&self, place: Option<u64>) -> bool {
        self.waiting.first().copied() == place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_who_waits() {
        let mut line = Line::default();
        assert!(line.is_next(None));
        let (first, second) = (line.join(), line.join());
        assert!(line.is_next(Some(first)) && !line.is_next(Some(second)) && !line.is_next(None));
        line.leave(first);
        assert!(line.is_next(Some(second)) && !line.is_next(None));
        line.leave(second);
        assert!(line.is_next(None) && line.join() > second);
    }
}
