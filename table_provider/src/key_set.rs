//! Sets of keys, as conditions leave them.
//!
//! In: values and bounds of single key columns, of the exact types of the key. Out: unions and intersections; the keys
//! one by one where they are few.
//! Invariants: a set holds every key that its condition holds for, and perhaps more: where an exact answer would be
//! long, it is widened. Equal keys are equal values: floats are canonical ([`crate::key_literal`]).

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::Bound;

use datafusion::common::ScalarValue;

/// Boxes of a set, at most.
const BOXES_MAX: usize = 10_000;
/// Pairs of boxes that are intersected, at most.
const PAIRS_MAX: usize = 100_000;

/// Values that a key column may have.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Any.
    Any,
    /// One of these.
    OneOf(Vec<ScalarValue>),
    /// Those between two bounds.
    Between(Bound<ScalarValue>, Bound<ScalarValue>),
}

/// The keys whose columns have such values, by key column.
pub type KeyBox = Vec<Values>;

/// A set of keys.
#[derive(Clone, Debug, PartialEq)]
pub enum KeySet {
    /// All keys.
    All,
    /// Those in any of some boxes; no boxes, no keys.
    Boxes(Vec<KeyBox>),
}

impl KeySet {
    /// No key.
    pub const NONE: Self = Self::Boxes(Vec::new());

    /// The keys whose column at `place` has such values, of keys with so many columns.
    pub fn of(columns: usize, place: usize, values: Values) -> Self {
        let mut only = vec![Values::Any; columns];
        only[place] = values;
        Self::Boxes(vec![only])
    }

    /// The keys in both sets, or a few more.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let (mine, others) = match (self, other) {
            (Self::All, set) | (set, Self::All) => return set,
            (Self::Boxes(mine), Self::Boxes(others)) => (mine, others),
        };
        if mine.len().saturating_mul(others.len()) > PAIRS_MAX {
            return Self::Boxes(if mine.len() <= others.len() { mine } else { others });
        }
        let pairs = mine.iter().flat_map(|mine| others.iter().map(move |other| (mine, other)));
        Self::Boxes(pairs.filter_map(|(mine, other)| intersection(mine, other)).collect())
    }

    /// The keys in either set, or more.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (Self::Boxes(mut mine), Self::Boxes(others)) = (self, other) else { return Self::All };
        for other in others {
            if !mine.last_mut().is_some_and(|last| extend(last, &other)) {
                mine.push(other);
            }
        }
        if mine.len() > BOXES_MAX { Self::All } else { Self::Boxes(mine) }
    }

    /// Whether all its keys have the same value in the column at `place`.
    pub fn fixes(&self, place: usize) -> bool {
        let Self::Boxes(boxes) = self else { return false };
        let mut values = boxes.iter().map(|values| match &values[place] {
            Values::OneOf(values) if values.iter().all(|value| *value == values[0]) => values.first(),
            _ => None,
        });
        let Some(Some(first)) = values.next() else { return false };
        values.all(|value| value == Some(first))
    }

    /// Whether no key is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The keys one by one, each once, if they are no more than `limit`.
    pub fn keys(&self, limit: usize) -> Option<Vec<Vec<ScalarValue>>> {
        let Self::Boxes(boxes) = self else { return None };
        let mut keys: Vec<Vec<ScalarValue>> = Vec::new();
        for values in boxes {
            keys.extend(products(values, limit.checked_sub(keys.len())?)?);
        }
        if keys.len() > 1 {
            let mut seen = HashSet::with_capacity(keys.len());
            keys.retain(|key| seen.insert(key.clone()));
        }
        Some(keys)
    }
}

/// The ways to take a value of each column, if there are finitely many and no more than `limit`.
pub fn products(columns: &[Values], limit: usize) -> Option<Vec<Vec<ScalarValue>>> {
    let mut taken: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in columns {
        let Values::OneOf(values) = column else { return None };
        if taken.len().checked_mul(values.len())? > limit {
            return None;
        }
        let with = |key: &Vec<ScalarValue>, value: &ScalarValue| key.iter().chain([value]).cloned().collect();
        taken = taken.iter().flat_map(|key| values.iter().map(|value| with(key, value))).collect();
    }
    Some(taken)
}

/// Widens a box to hold another one, if that adds no keys of neither.
fn extend(known: &mut KeyBox, other: &KeyBox) -> bool {
    let mut differing = known.iter_mut().zip(other).filter(|(known, other)| *known != *other);
    let (first, second) = (differing.next(), differing.next());
    match (first, second) {
        (None, _) => true,
        (Some((Values::OneOf(known), Values::OneOf(values))), None) => {
            known.extend(values.iter().cloned());
            true
        }
        _ => false,
    }
}

/// The keys in both boxes, if there are some.
fn intersection(a: &KeyBox, b: &KeyBox) -> Option<KeyBox> {
    a.iter().zip(b).map(|(a, b)| values_in_both(a, b)).collect()
}

fn values_in_both(a: &Values, b: &Values) -> Option<Values> {
    match (a, b) {
        (Values::Any, other) | (other, Values::Any) => Some(other.clone()),
        (Values::OneOf(few), Values::OneOf(many)) => {
            let many: HashSet<&ScalarValue> = many.iter().collect();
            some_of(few.iter().filter(|value| many.contains(value)))
        }
        (Values::OneOf(values), Values::Between(start, end)) | (Values::Between(start, end), Values::OneOf(values)) => {
            some_of(values.iter().filter(|value| is_behind(value, start) && is_before(value, end)))
        }
        (Values::Between(start_a, end_a), Values::Between(start_b, end_b)) => {
            let start = if is_tighter(start_b, start_a, Ordering::Greater) { start_b } else { start_a };
            let end = if is_tighter(end_b, end_a, Ordering::Less) { end_b } else { end_a };
            (!is_empty(start, end)).then(|| Values::Between(start.clone(), end.clone()))
        }
    }
}

fn some_of<'a>(values: impl Iterator<Item = &'a ScalarValue>) -> Option<Values> {
    let values: Vec<ScalarValue> = values.cloned().collect();
    (!values.is_empty()).then_some(Values::OneOf(values))
}

/// Whether no value lies between two bounds.
fn is_empty(start: &Bound<ScalarValue>, end: &Bound<ScalarValue>) -> bool {
    let (Bound::Included(least) | Bound::Excluded(least)) = start else { return false };
    let (Bound::Included(greatest) | Bound::Excluded(greatest)) = end else { return false };
    match least.partial_cmp(greatest) {
        Some(Ordering::Equal) => !matches!((start, end), (Bound::Included(_), Bound::Included(_))),
        ordering => ordering == Some(Ordering::Greater),
    }
}

/// Whether a value may lie behind a start. Values that cannot be compared may.
fn is_behind(value: &ScalarValue, start: &Bound<ScalarValue>) -> bool {
    match start {
        Bound::Unbounded => true,
        Bound::Included(start) => value.partial_cmp(start) != Some(Ordering::Less),
        Bound::Excluded(start) => !matches!(value.partial_cmp(start), Some(Ordering::Less | Ordering::Equal)),
    }
}

/// Whether a value may lie before an end.
fn is_before(value: &ScalarValue, end: &Bound<ScalarValue>) -> bool {
    match end {
        Bound::Unbounded => true,
        Bound::Included(end) => value.partial_cmp(end) != Some(Ordering::Greater),
        Bound::Excluded(end) => !matches!(value.partial_cmp(end), Some(Ordering::Greater | Ordering::Equal)),
    }
}

/// Whether a bound leaves out more than another one; `tighter` is how its value compares then.
fn is_tighter(bound: &Bound<ScalarValue>, other: &Bound<ScalarValue>, tighter: Ordering) -> bool {
    let (value, other_value) = match (bound, other) {
        (Bound::Unbounded, _) => return false,
        (_, Bound::Unbounded) => return true,
        (Bound::Included(value) | Bound::Excluded(value), Bound::Included(other) | Bound::Excluded(other)) => {
            (value, other)
        }
    };
    match value.partial_cmp(other_value) {
        Some(Ordering::Equal) => matches!(bound, Bound::Excluded(_)),
        ordering => ordering == Some(tighter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(number: i64) -> ScalarValue {
        ScalarValue::Int64(Some(number))
    }

    fn one_of(numbers: &[i64]) -> Values {
        Values::OneOf(numbers.iter().copied().map(number).collect())
    }

    /// Keys of two columns.
    fn pairs(set: &KeySet) -> Option<Vec<(i64, i64)>> {
        let number = |value: &ScalarValue| match value {
            ScalarValue::Int64(Some(number)) => *number,
            other => panic!("{other:?}"),
        };
        let keys = set.keys(100)?;
        Some(keys.iter().map(|key| (number(&key[0]), number(&key[1]))).collect())
    }

    fn on(place: usize, values: Values) -> KeySet {
        KeySet::of(2, place, values)
    }

    #[test]
    fn lists_of_both_columns_make_their_product() {
        let set = on(0, one_of(&[1, 2])).and(on(1, one_of(&[3, 4])));
        assert_eq!(pairs(&set), Some(vec![(1, 3), (1, 4), (2, 3), (2, 4)]));
        assert_eq!(set.keys(3), None);
        assert_eq!(pairs(&on(0, one_of(&[1]))), None);
    }

    #[test]
    fn alternatives_add_up_and_give_no_key_twice() {
        let key = |a, b| on(0, one_of(&[a])).and(on(1, one_of(&[b])));
        let set = key(1, 1).or(key(2, 2)).or(key(1, 1)).or(key(2, 3));
        assert_eq!(pairs(&set), Some(vec![(1, 1), (2, 2), (2, 3)]));
        assert_eq!(pairs(&set.clone().and(on(0, one_of(&[2, 7])))), Some(vec![(2, 2), (2, 3)]));
        assert_eq!(set.or(KeySet::All), KeySet::All);
        assert_eq!(pairs(&on(0, one_of(&[1])).or(on(0, one_of(&[1]))).and(on(1, one_of(&[1])))), Some(vec![(1, 1)]));
    }

    #[test]
    fn bounds_take_values_out() {
        let between = |start, end| on(0, Values::Between(start, end));
        let set = between(Bound::Excluded(number(1)), Bound::Unbounded)
            .and(between(Bound::Included(number(1)), Bound::Included(number(4))))
            .and(between(Bound::Unbounded, Bound::Excluded(number(4))));
        assert_eq!(set, between(Bound::Excluded(number(1)), Bound::Excluded(number(4))));
        assert_eq!(set.clone().and(on(0, one_of(&[0, 1, 2, 3, 4]))), on(0, one_of(&[2, 3])));
        assert!(on(0, one_of(&[1])).and(on(0, one_of(&[2]))).is_empty());
        let least = on(0, Values::Between(Bound::Included(number(4)), Bound::Unbounded));
        assert!(set.and(least).is_empty());
    }

    #[test]
    fn a_column_is_fixed_by_one_value_in_all_boxes() {
        let key = |a, b| on(0, one_of(&[a])).and(on(1, one_of(&[b])));
        let set = key(1, 2).or(key(1, 3).and(on(1, one_of(&[3, 3])))).or(key(1, 7));
        assert!(set.fixes(0) && !set.fixes(1));
        assert!(!set.or(key(2, 9)).fixes(0) && !KeySet::All.fixes(0) && !KeySet::NONE.fixes(0));
    }

    #[test]
    fn sets_that_grow_too_large_are_widened() {
        let many = |column| {
            let boxes = (0..1000).map(|n| on(0, one_of(&[n])).and(on(1, one_of(&[n + column]))));
            boxes.fold(KeySet::NONE, KeySet::or)
        };
        assert_eq!(many(0).and(many(1)), many(0));
        let boxes = vec![vec![one_of(&[1]), one_of(&[1])]; BOXES_MAX];
        assert_eq!(KeySet::Boxes(boxes).or(on(0, one_of(&[2]))), KeySet::All);
    }
}
