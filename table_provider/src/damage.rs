//! What Parquet's reader makes of damaged pages, as damage of the file.
//!
//! In: the planners, morsels and batches of DataFusion's Parquet scan. Out: the same; a panic of the decoder, or its
//! refusal of the bytes, as the engine's `Corrupt` with the run's file.
//! Invariants: errors of others keep their type: the engine's, and those of filters and casts, which are the query's.
//! Blocks are verified before they are decoded, so this is met only where damage was written behind matching checksums.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::{DataFusionError, Result};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use parquet::errors::ParquetError;
use rustling_engine::error::{Damage, Error};

use crate::error::external;
use crate::reader::ScannedRun;

/// Tells damage from other failures, in everything that a Parquet morselizer makes.
#[derive(Debug)]
pub struct DamageMorselizer {
    parquet: Box<dyn Morselizer>,
}

impl DamageMorselizer {
    /// Wraps a morselizer of files that carry their runs.
    pub fn new(parquet: Box<dyn Morselizer>) -> Self {
        Self { parquet }
    }
}

impl Morselizer for DamageMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let path = match file.extension::<ScannedRun>() {
            Some(scanned) => scanned.run.sst().sst().path().to_owned(),
            None => file.path().to_string(),
        };
        let planner = caught(&path, || self.parquet.plan_file(file))?;
        Ok(Box::new(DamagePlanner { parquet: planner, path }))
    }
}

#[derive(Debug)]
struct DamagePlanner {
    parquet: Box<dyn MorselPlanner>,
    path: String,
}

impl MorselPlanner for DamagePlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { parquet, path } = *self;
        let Some(mut plan) = caught(&path, || parquet.plan())? else { return Ok(None) };
        let planner = |path: &str, parquet| Box::new(DamagePlanner { parquet, path: path.to_owned() }) as _;
        let morsels = plan.take_morsels().into_iter();
        let morsels = morsels.map(|parquet| Box::new(DamageMorsel { parquet, path: path.clone() }) as _).collect();
        let ready = plan.take_ready_planners().into_iter().map(|parquet| planner(&path, parquet)).collect();
        let mut guarded = MorselPlan::new().with_morsels(morsels).with_planners(ready);
        if let Some(pending) = plan.take_pending_planner() {
            guarded.set_pending_planner(async move {
                let planned = AssertUnwindSafe(pending.into_future()).catch_unwind().await;
                Ok(planner(&path, told(&path, planned.unwrap_or_else(|_| Err(panicked(&path))))?))
            });
        }
        Ok(Some(guarded))
    }
}

#[derive(Debug)]
struct DamageMorsel {
    parquet: Box<dyn Morsel>,
    path: String,
}

impl Morsel for DamageMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { parquet, path } = *self;
        match caught(&path, || Ok(parquet.into_stream())) {
            // The stream ends behind a panic.
            Ok(batches) => AssertUnwindSafe(batches)
                .catch_unwind()
                .map(move |batch| told(&path, batch.unwrap_or_else(|_| Err(panicked(&path)))))
                .boxed(),
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        }
    }
}

fn caught<T>(path: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    told(path, catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(panicked(path))))
}

fn panicked(path: &str) -> DataFusionError {
    external(Error::corrupt(path, Damage::DecoderPanic))
}

/// What Parquet's decoder itself refuses is damage; what others say through it is not.
fn told<T>(path: &str, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error {
        DataFusionError::ParquetError(refusal)
            if !matches!(*refusal, ParquetError::External(_) | ParquetError::ArrowError(_)) =>
        {
            external(Error::corrupt(path, Damage::Parquet(*refusal)))
        }
        DataFusionError::ArrowError(refusal, _) if matches!(*refusal, ArrowError::ParquetError(_)) => {
            external(Error::corrupt(path, Damage::Arrow(*refusal)))
        }
        other => other,
    })
}
