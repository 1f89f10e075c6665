//! Works on items in parallel and hands the results out in the order of the items.
//!
//! In: an iterator of items, run on a thread of its own, and a worker per thread. Out: results, in order.
//! Invariants: at most `threads * 2 + 2` items are read and not yet handed out, because the reader takes a permit for
//! each and [`Pipeline::next`] gives it back; results wait in a map that is bounded by the same. The first error in the
//! order of the items is the one handed out, whichever thread meets one first. A panic of the reader or a worker is an
//! error at its item's place. Dropping the pipeline stops the threads and joins them, but for a reader that may be
//! blocked in a pipe: that one ends with its next item.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::error::CsvError;

const READER: &str = "csv-reader";
const WORKER: &str = "csv-parser";

/// A step of the pipeline with the place of its item.
type Numbered<T> = (u64, Result<T, CsvError>);

/// Threads at work, and the results that are due later.
pub(crate) struct Pipeline<O> {
    /// Dropped in this order to stop the threads.
    channels: Option<Channels<O>>,
    waiting: BTreeMap<u64, Result<O, CsvError>>,
    next: u64,
    reader: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    reader_may_block: bool,
}

struct Channels<O> {
    results: Receiver<Numbered<O>>,
    permits: Sender<()>,
    /// Nothing is ever sent; the workers see that it is dropped.
    _running: Sender<Infallible>,
}

impl<O: Send + 'static> Pipeline<O> {
    /// Starts one thread for `items` and one for each of `workers`.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(crate) fn start<I, W>(
        items: impl Iterator<Item = Result<I, CsvError>> + Send + 'static,
        workers: Vec<W>,
        reader_may_block: bool,
    ) -> Result<Self, CsvError>
    where
        I: Send + 'static,
        W: FnMut(I) -> Result<O, CsvError> + Send + 'static,
    {
        let depth = workers.len() * 2 + 2;
        let (permits, permits_taken) = bounded(depth);
        let (items_sent, items_taken) = bounded::<(u64, I)>(depth);
        let (results_sent, results) = bounded(depth);
        let (running, stopped) = bounded(0);
        for _ in 0..depth {
            // The channel holds as many, so none is refused.
            let _ = permits.try_send(());
        }
        let mut pipeline = Self {
            channels: Some(Channels { results, permits, _running: running }),
            waiting: BTreeMap::new(),
            next: 0,
            reader: None,
            workers: Vec::with_capacity(workers.len()),
            reader_may_block,
        };
        for (index, worker) in workers.into_iter().enumerate() {
            let (items, results, stopped) = (items_taken.clone(), results_sent.clone(), stopped.clone());
            let name = format!("{WORKER}-{index}");
            let thread = spawn(WORKER, name, move || work(worker, &items, &results, &stopped))?;
            pipeline.workers.push(thread);
        }
        let read = move || read(items, &permits_taken, &items_sent, &results_sent);
        pipeline.reader = Some(spawn(READER, READER.to_owned(), read)?);
        Ok(pipeline)
    }

    /// The result of the next item, or `None` behind the last one or an error.
    pub(crate) fn next(&mut self) -> Option<Result<O, CsvError>> {
        loop {
            let channels = self.channels.as_ref()?;
            if let Some(result) = self.waiting.remove(&self.next) {
                self.next += 1;
                if result.is_err() {
                    self.channels = None;
                } else {
                    // A reader that is at its end takes no more permits.
                    let _ = channels.permits.try_send(());
                }
                return Some(result);
            }
            match channels.results.recv() {
                Ok((number, result)) => {
                    self.waiting.insert(number, result);
                }
                Err(_) => self.channels = None,
            }
        }
    }
}

impl<O> Drop for Pipeline<O> {
    fn drop(&mut self) {
        self.channels = None;
        let reader = self.reader.take().filter(|reader| !self.reader_may_block || reader.is_finished());
        for thread in self.workers.drain(..).chain(reader) {
            // Panics were caught in the thread and handed out as errors.
            let _ = thread.join();
        }
    }
}

fn spawn(thread: &'static str, name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, CsvError> {
    Builder::new().name(name).spawn(run).map_err(|source| CsvError::NoThread { thread, source })
}

/// Reads items until there are none, one fails, or nobody wants more.
fn read<I, O>(
    mut items: impl Iterator<Item = Result<I, CsvError>>,
    permits: &Receiver<()>,
    sent: &Sender<(u64, I)>,
    results: &Sender<Numbered<O>>,
) {
    for number in 0.. {
        if permits.recv().is_err() {
            return;
        }
        let next = catch_unwind(AssertUnwindSafe(|| items.next()));
        let more = match next.unwrap_or(Some(Err(CsvError::ThreadPanicked { thread: READER }))) {
            None => false,
            Some(Ok(item)) => sent.send((number, item)).is_ok(),
            Some(Err(error)) => {
                // Nobody listens any more where this fails.
                let _ = results.send((number, Err(error)));
                false
            }
        };
        if !more {
            return;
        }
    }
}

/// Works on items until there are none or nobody wants more.
fn work<I, O>(
    mut worker: impl FnMut(I) -> Result<O, CsvError>,
    items: &Receiver<(u64, I)>,
    results: &Sender<Numbered<O>>,
    stopped: &Receiver<Infallible>,
) {
    loop {
        let (number, item) = select! {
            recv(items) -> item => match item {
                Ok(item) => item,
                Err(_) => return,
            },
            recv(stopped) -> _ => return,
        };
        let result = catch_unwind(AssertUnwindSafe(|| worker(item)));
        let panicked = result.is_err();
        let result = result.unwrap_or(Err(CsvError::ThreadPanicked { thread: WORKER }));
        if results.send((number, result)).is_err() || panicked {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn workers(count: usize, work: fn(u64) -> Result<u64, CsvError>) -> Vec<fn(u64) -> Result<u64, CsvError>> {
        vec![work; count]
    }

    fn drain(mut pipeline: Pipeline<u64>) -> Vec<Result<u64, String>> {
        std::iter::from_fn(|| pipeline.next()).map(|result| result.map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for threads in 1..5 {
            let items = (0..1000).map(Ok);
            let pipeline = Pipeline::start(items, workers(threads, |item| Ok(item * 2)), false).unwrap();
            assert_eq!(drain(pipeline), (0..1000).map(|item| Ok(item * 2)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_in_order_is_handed_out() {
        for threads in 1..5 {
            let items = (0..1000).map(|item| if item == 90 { Err(CsvError::NoFiles) } else { Ok(item) });
            let work = |item| {
                if item == 77 || item > 78 { Err(CsvError::StdinTwice) } else { Ok(item) }
            };
            let results = drain(Pipeline::start(items, workers(threads, work), false).unwrap());
            assert_eq!(results.len(), 78);
            assert_eq!(results[77], Err(CsvError::StdinTwice.to_string()));
        }
    }

    #[test]
    fn a_panic_is_an_error_at_its_place() {
        let quiet = |item: u64| {
            if item == 5 { std::panic::resume_unwind(Box::new(())) } else { Ok(item) }
        };
        for threads in 1..4 {
            let results = drain(Pipeline::start((0..1000).map(Ok), workers(threads, quiet), false).unwrap());
            assert_eq!(results[..5], [Ok(0), Ok(1), Ok(2), Ok(3), Ok(4)]);
            assert!(results[5].as_ref().is_err_and(|error| error.contains("the csv-parser thread panicked")));
        }
        let items = (0..9).map(quiet);
        let results = drain(Pipeline::start(items, workers(2, Ok), false).unwrap());
        assert!(results[5].as_ref().is_err_and(|error| error.contains("the csv-reader thread panicked")));
    }

    #[test]
    fn no_more_items_are_read_than_are_wanted() {
        let read = Arc::new(AtomicU64::new(0));
        let counted = read.clone();
        let items = std::iter::from_fn(move || Some(Ok(counted.fetch_add(1, Ordering::Relaxed))));
        let mut pipeline = Pipeline::start(items, workers(2, Ok), false).unwrap();
        for item in 0..100 {
            assert_eq!(pipeline.next().unwrap().unwrap(), item);
            assert!(read.load(Ordering::Relaxed) <= item + 1 + 2 * 2 + 2);
        }
        drop(pipeline);
        assert!(read.load(Ordering::Relaxed) <= 100 + 2 * 2 + 2);
    }

    #[test]
    fn dropping_does_not_wait_for_a_blocked_reader() {
        let (blocker, blocked) = bounded::<u64>(0);
        let items = std::iter::from_fn(move || blocked.recv().ok().map(Ok));
        let pipeline = Pipeline::start(items, workers(2, Ok), true).unwrap();
        drop(pipeline);
        drop(blocker);
    }
}
