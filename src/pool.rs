//! Memory of queries: what each operator may take.
//!
//! In: requests of operators. Out: yes or no; an operator that can spill does so on a no.
//! Invariants: requests are granted up to the limit. Operators that can spill share evenly what the others leave, but
//! half is kept back from them: a sort that spills first merges what it has, with memory that it cannot spill. That is
//! up to half of what it has, and it would find none where the sorts beside it have taken all. Of what is kept back those
//! begin that come when others have more than their share: nobody can spill what it does not have.
//! Repartitions get what they ask for, also beyond the limit: one that spills from two partitions at once may wait for
//! ever (DataFusion 55.2, apache/datafusion#24883). It is a few batches where what reads them keeps up, and more where
//! some partitions are read much faster than others. Beyond a quarter of the limit that takes nothing from the others: an
//! aggregation that has spilled all it had must get a few bytes to go on with.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};

/// One part in so many is kept back from operators that can spill.
const KEPT_BACK: usize = 2;

/// One part in so many of its share an operator that can spill gets in any case: it cannot spill what it does not have.
const BEGINS_WITH: usize = 4;

/// One part in so many is what repartitions take from the others, at most.
const HANDED_ON: usize = 4;

/// What the name of a consumer begins with that hands rows from some partitions to others.
const REPARTITION: &str = "RepartitionExec";

/// A limit that operators share.
#[derive(Debug)]
pub(crate) struct QueryPool {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Operators that can spill.
    spilling: usize,
    /// Bytes that these have.
    spillable: usize,
    /// Bytes that repartitions have.
    handed_on: usize,
    /// Bytes that the others have.
    fixed: usize,
}

impl QueryPool {
    /// A pool of so many bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, reservation: &MemoryReservation, bytes: usize, free: usize) -> DataFusionError {
        DataFusionError::ResourcesExhausted(format!(
            "{} needs {bytes} more bytes and has {}; {free} of the {} bytes for queries are free for it: give the \
             database more memory",
            reservation.consumer().name(),
            reservation.size(),
            self.limit,
        ))
    }
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &str {
        "rustling"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        if can_spill(consumer) {
            self.taken().spilling += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        if can_spill(consumer) {
            let mut taken = self.taken();
            taken.spilling = taken.spilling.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let mut taken = self.taken();
        *taken.of(reservation) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let mut taken = self.taken();
        let bytes = taken.of(reservation);
        *bytes = bytes.saturating_sub(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut taken = self.taken();
        // What those that can spill cannot have.
        let fixed = taken.fixed + taken.handed_on.min(self.limit / HANDED_ON);
        let left = self.limit.saturating_sub(taken.spillable + fixed);
        let free = if can_spill(reservation.consumer()) {
            let shared = self.limit.saturating_sub(fixed.max(self.limit / KEPT_BACK));
            let (share, has) = (shared / taken.spilling.max(1), reservation.size());
            // Who came first may have more than its share now; who comes then begins with some of what is kept back.
            let unused = shared.saturating_sub(taken.spillable);
            let allowed = share.min(has + unused).max((share / BEGINS_WITH).min(has + left));
            allowed.saturating_sub(has)
        } else {
            left
        };
        if additional > free && !is_repartition(reservation.consumer()) {
            return Err(self.refused(reservation, additional, free));
        }
        *taken.of(reservation) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let taken = self.taken();
        taken.spillable + taken.handed_on + taken.fixed
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

/// Whether an operator gives memory back when it is refused some.
fn can_spill(consumer: &MemoryConsumer) -> bool {
    consumer.can_spill() && !is_repartition(consumer)
}

fn is_repartition(consumer: &MemoryConsumer) -> bool {
    consumer.name().starts_with(REPARTITION)
}

impl Taken {
    /// The bytes that a reservation is counted in.
    fn of(&mut self, reservation: &MemoryReservation) -> &mut usize {
        match reservation.consumer() {
            consumer if is_repartition(consumer) => &mut self.handed_on,
            consumer if can_spill(consumer) => &mut self.spillable,
            _ => &mut self.fixed,
        }
    }
}

impl fmt::Display for QueryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes for queries", self.reserved(), self.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn operators_that_spill_leave_some_for_those_that_cannot() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800));
        let sort = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&pool);
        let (first, second) = (sort("first"), sort("second"));
        let merge = MemoryConsumer::new("merge").register(&pool);
        first.try_grow(200).unwrap();
        second.try_grow(200).unwrap();
        let error = first.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("first needs 1 more bytes and has 200; 0 of the 800 bytes"), "{error}");
        merge.try_grow(400).unwrap();
        assert!(merge.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 800);
        first.free();
        merge.try_grow(200).unwrap();
        assert!(second.try_grow(1).is_err(), "half of what the merge leaves is less");
        drop((first, merge));
        second.try_grow(200).unwrap();
        assert!(second.try_grow(1).is_err(), "alone it has all that is not kept back");
        drop(second);
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn a_repartition_is_refused_nothing_and_leaves_the_others_less() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800));
        let sort = MemoryConsumer::new("sort").with_can_spill(true).register(&pool);
        let merge = MemoryConsumer::new("merge").register(&pool);
        let repartition = MemoryConsumer::new("RepartitionExec[0]").with_can_spill(true).register(&pool);
        sort.try_grow(400).unwrap();
        merge.try_grow(400).unwrap();
        repartition.try_grow(100).unwrap();
        assert_eq!(pool.reserved(), 900);
        merge.free();
        assert!(merge.try_grow(301).is_err());
        merge.try_grow(300).unwrap();
    }

    #[test]
    fn a_repartition_with_all_and_more_leaves_half_to_those_that_spill() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800));
        let repartition = MemoryConsumer::new("RepartitionExec[0]").with_can_spill(true).register(&pool);
        repartition.try_grow(10_000).unwrap();
        let groups = MemoryConsumer::new("groups").with_can_spill(true).register(&pool);
        groups.try_grow(400).unwrap();
        assert!(groups.try_grow(1).is_err());
        MemoryConsumer::new("merge").register(&pool).try_grow(200).unwrap();
        repartition.free();
        assert_eq!(pool.reserved(), 400);
    }

    #[test]
    fn operators_that_come_one_after_the_other_begin_and_leave_most_of_what_is_kept_back() {
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(800));
        let sorts: Vec<_> = (0..4).map(|_| MemoryConsumer::new("sort").with_can_spill(true)).collect();
        let mut held = Vec::new();
        for sort in sorts {
            let sort = sort.register(&pool);
            (0..400).take_while(|_| sort.try_grow(1).is_ok()).count();
            held.push(sort);
        }
        let has: Vec<usize> = held.iter().map(MemoryReservation::size).collect();
        assert_eq!(has, [400, 50, 33, 25], "a quarter of an even share");
        MemoryConsumer::new("merge").register(&pool).try_grow(800 - 508).unwrap();
        assert!(held[3].try_grow(1).is_err());
    }
}
