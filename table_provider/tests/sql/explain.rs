//! What plans look like, and what they measure.

use datafusion::datasource::physical_plan::{FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use rustling_table_provider::source::RunSource;
use std::sync::Arc;

use crate::fixture::{Fixture, analyze, explain, plan};

/// Two clean runs of several row groups.
fn clean() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.flush();
    fixture.upsert(1_000_000..1_000_100, 0);
    fixture.flush();
    fixture
}

#[tokio::test]
async fn count_is_answered_without_a_scan() {
    let mut fixture = clean();
    for sql in ["SELECT count(*) FROM t", "SELECT min(k), max(k), count(*) FROM t"] {
        let plan = explain(&fixture.context, sql).await;
        assert!(!plan.contains("DataSourceExec"), "{plan}");
        fixture.check(sql).await;
    }
    fixture.upsert(2_000_000..2_000_010, 0);
    let plan = explain(&fixture.context, "SELECT count(*) FROM t").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    fixture.check("SELECT count(*) FROM t").await;
    fixture.upsert([5], 1);
    let plan = explain(&fixture.context, "SELECT count(*) FROM t").await;
    assert!(!plan.contains("DataSourceExec"), "{plan}");
    fixture.check("SELECT count(*) FROM t").await;
    // What overlaps in memory is merged, and nobody knows before how many rows that gives.
    fixture.upsert(0..5000, 2);
    let plan = explain(&fixture.context, "SELECT count(*) FROM t").await;
    assert!(plan.contains("rustling merge"), "{plan}");
    fixture.check("SELECT count(*) FROM t").await;
}

/// Values of a pruning metric, as `(pruned, matched)`.
fn pruned(plan: &str, metric: &str) -> (u64, u64) {
    let text = plan.split(metric).nth(1).unwrap_or_else(|| panic!("no {metric} in {plan}"));
    let text = text.trim_start_matches('=').split([',', ']']).next().unwrap();
    let numbers: Vec<u64> = text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    (numbers[0] - numbers[1], numbers[1])
}

#[tokio::test]
async fn many_keys_are_found_by_pruning_files_row_groups_and_pages() {
    let fixture = clean();
    let sql = "SELECT v FROM t WHERE k BETWEEN 140000 AND 230000";
    let plan = analyze(&fixture.context, sql).await;
    assert!(pruned(&plan, "files_ranges_pruned_statistics").0 >= 1, "{plan}");
    assert_eq!(pruned(&plan, "row_groups_pruned_statistics").1, 1, "{plan}");
    assert!(pruned(&plan, "page_index_pages_pruned").0 >= 4, "{plan}");
    fixture.check("SELECT count(v), sum(n) FROM t WHERE k BETWEEN 140000 AND 230000").await;
}

#[tokio::test]
async fn leaves_measure_their_work() {
    let mut fixture = clean();
    let plan = analyze(&fixture.context, "SELECT sum(n) FROM t").await;
    assert!(plan.contains("bytes_scanned=") && plan.contains("read_time=") && plan.contains("reads="), "{plan}");
    assert!(!plan.contains("bytes_scanned=0"), "{plan}");
    fixture.upsert([5], 1);
    fixture.upsert(4..2004, 1);
    // Enough rows for a chunk of their own.
    fixture.upsert(3_000_000..3_002_000, 1);
    let plan = analyze(&fixture.context, "SELECT sum(n) FROM t").await;
    assert!(plan.contains("merge_time=") && plan.contains("output_rows=2.00 K"), "{plan}");
    assert!(plan.contains("rustling memory: rows=2000"), "{plan}");
}

#[tokio::test]
async fn only_the_columns_that_are_asked_for_are_read() {
    let fixture = clean();
    let bytes = async |sql: &str| {
        let plan = plan(&fixture.context, sql).await;
        datafusion::physical_plan::collect(plan.clone(), fixture.context.task_ctx()).await.unwrap();
        let mut bytes = 0;
        let mut open = vec![plan];
        while let Some(plan) = open.pop() {
            bytes +=
                plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned")).map_or(0, |sum| sum.as_usize());
            open.extend(plan.children().into_iter().cloned());
        }
        bytes
    };
    let (one, all) = (bytes("SELECT n FROM t").await, bytes("SELECT * FROM t").await);
    assert!(one > 0 && one * 2 < all, "{one} of {all}");
}

#[tokio::test]
async fn a_merge_limit_stops_early() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.upsert((0..300_000).step_by(3), 1);
    let plan = analyze(&fixture.context, "SELECT k FROM t LIMIT 3").await;
    assert!(plan.contains("rustling merge") && plan.contains("fetch=3") && plan.contains("output_rows=3"), "{plan}");
    assert!(!plan.contains("300.0 K"), "{plan}");
}

/// DataFusion's protobuf encoder recognises the bare Parquet source, and would drop the runs that the files carry.
#[tokio::test]
async fn no_plan_holds_the_bare_parquet_source() {
    let fixture = clean();
    for sql in [
        "SELECT * FROM t",
        "SELECT v FROM t WHERE k > 5 AND n = 3",
        "SELECT k FROM t ORDER BY n DESC LIMIT 3",
        "SELECT n + 1 FROM t LIMIT 5",
    ] {
        let mut scans = 0;
        let mut open: Vec<Arc<dyn ExecutionPlan>> = vec![plan(&fixture.context, sql).await];
        while let Some(plan) = open.pop() {
            if let Some(scan) = plan.downcast_ref::<DataSourceExec>() {
                let config = scan.data_source().downcast_ref::<FileScanConfig>().unwrap();
                assert!(config.file_source().is::<RunSource>() && !config.file_source().is::<ParquetSource>());
                scans += 1;
            }
            open.extend(plan.children().into_iter().cloned());
        }
        assert_eq!(scans, 1, "{sql}");
    }
}
