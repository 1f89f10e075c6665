//! Joins of a table with few keys.

use std::sync::Arc;

use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use rustling_table_provider::table::RustlingTable;

use crate::fixture::{Fixture, analyze, explain, number, plan, rows, text};
use crate::keys::{Keyed, numbers, values};

/// A table of some row groups, and a small one, `s`, in both sessions.
async fn large(small: &str) -> (Fixture, SessionContext) {
    let mut fixture = Fixture::new();
    fixture.upsert(0..300_000, 0);
    fixture.flush();
    fixture.upsert((0..300_000).step_by(7), 1);
    fixture.flush();
    fixture.upsert([1, 5, 299_999], 2);
    fixture.delete([2, 140_000]);
    let rows = values(small).await;
    let table = Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap());
    let model = fixture.model_session();
    fixture.context.register_table("s", table.clone()).unwrap();
    model.register_table("s", table).unwrap();
    (fixture, model)
}

const SMALL: &str =
    "SELECT * FROM (VALUES (1, 'a'), (5, 'b'), (5, 'c'), (140000, 'd'), (-7, 'e'), (299999, 'f')) AS s(id, name)";

/// Joins whose other side is small, and which DataFusion lets know of it.
const JOINS: [&str; 10] = [
    "SELECT s.name, t.n, t.v FROM s JOIN t ON s.id = t.k",
    "SELECT s.name, t.n FROM t JOIN s ON s.id = t.k WHERE s.name <> 'b'",
    "SELECT s.name, t.n FROM s LEFT JOIN t ON s.id = t.k",
    "SELECT s.name, t.n + 1 AS m FROM t RIGHT JOIN s ON s.id = t.k AND t.n < 2000",
    "SELECT k, n FROM t WHERE k IN (SELECT id FROM s)",
    "SELECT count(*), sum(n) FROM t WHERE EXISTS (SELECT 1 FROM s WHERE s.id = t.k)",
    "SELECT name FROM s WHERE id NOT IN (SELECT k FROM t)",
    "SELECT name FROM s WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.k = s.id)",
    "SELECT name FROM s WHERE id IN (SELECT k FROM t WHERE n > 1000)",
    "SELECT s.name, t.n FROM s JOIN t ON s.id = t.k WHERE t.n > 1000 AND t.f IS NOT NULL",
];

#[tokio::test]
async fn a_small_side_is_looked_up() {
    let (fixture, model) = large(SMALL).await;
    for sql in JOINS {
        assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await, "{sql}");
        let plan = analyze(&fixture.context, sql).await;
        let line = plan.lines().find(|line| line.contains("TableScanExec"));
        let line = line.unwrap_or_else(|| panic!("{sql}: no TableScanExec\n{plan}"));
        assert!(line.contains("by_key=1") && line.contains("rows_found=") && line.contains("keys="), "{sql}\n{plan}");
        assert!(!plan.contains("bytes_scanned=") || plan.contains("bytes_scanned=0"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn joins_that_need_all_rows_get_them() {
    let (fixture, model) = large(SMALL).await;
    for sql in [
        "SELECT count(*), sum(t.n), count(s.id) FROM t LEFT JOIN s ON s.id = t.k",
        "SELECT count(*), sum(t.n), count(s.id) FROM s FULL JOIN t ON s.id = t.k",
        "SELECT count(*) FROM t WHERE k NOT IN (SELECT id FROM s)",
        "SELECT count(*), sum(n) FROM t WHERE NOT EXISTS (SELECT 1 FROM s WHERE s.id = t.k)",
        "SELECT count(*) FROM s CROSS JOIN t",
        "SELECT count(*) FROM s JOIN t ON s.id < t.k",
        "SELECT count(*), sum(t.n) FROM s JOIN t ON s.id = t.n",
        "SELECT count(*), sum(t.n) FROM s JOIN t ON s.id = t.k % 100",
        "SELECT s.name, a.n, b.k FROM s JOIN t a ON s.id = a.k JOIN t b ON a.n = b.k",
        "SELECT s.name, b.n FROM s JOIN (SELECT k, sum(n) AS n FROM t GROUP BY k) b ON s.id = b.k",
        "SELECT s.name, b.n FROM s JOIN (SELECT k, n FROM t WHERE n > 1000 AND k > 3) b ON s.id = b.k",
        "SELECT s.name FROM s JOIN (SELECT k FROM t WHERE k IN (1, 2, 3, 5)) b ON s.id = b.k",
        "SELECT s.name FROM s JOIN (SELECT k FROM t WHERE k < 1000) b ON s.id = b.k",
    ] {
        assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await, "{sql}");
    }
    // Of a limited side the join gets as many rows as there are.
    let sql = "SELECT count(*) FROM (SELECT k FROM t LIMIT 300000) b LEFT JOIN s ON s.id = b.k";
    assert_eq!(number(&fixture.context, sql).await, fixture.model.len() as u64 + 1);
}

/// Ten rows in the order of the key are other ones than ten rows that a join wants.
#[tokio::test]
async fn a_limited_side_is_limited_before_it_is_joined() {
    let (fixture, model) = large(SMALL).await;
    for sql in [
        "SELECT s.name, b.k FROM s JOIN (SELECT k FROM t ORDER BY k LIMIT 10) b ON s.id = b.k",
        "SELECT s.name, b.k FROM s JOIN (SELECT k FROM t ORDER BY k DESC LIMIT 3) b ON s.id = b.k",
        "SELECT s.name, b.k FROM s JOIN (SELECT k, n FROM t ORDER BY n DESC, k LIMIT 3) b ON s.id = b.k",
    ] {
        assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await, "{sql}");
    }
}

/// In one partition the limit is the scan's own.
#[tokio::test]
async fn a_limited_side_gives_no_more_rows_than_its_limit() {
    let mut fixture = Fixture::new();
    fixture.upsert(0..1000, 0);
    fixture.flush();
    let small = values(format!("SELECT x * 7 AS id, concat('n', x) AS name FROM {}", numbers(0..6))).await;
    let small = Arc::new(MemTable::try_new(small.schema(), vec![vec![small]]).unwrap());
    fixture.context.register_table("s", small).unwrap();
    // DataFusion takes the condition on `s` to leave one row in five.
    for sql in [
        "SELECT b.k FROM s JOIN (SELECT k FROM t LIMIT 3) b ON s.id = b.k WHERE s.name <> 'n9'",
        "SELECT b.k FROM s JOIN (SELECT k FROM t WHERE n >= 0 LIMIT 3) b ON s.id = b.k WHERE s.name <> 'n9'",
        "SELECT k FROM (SELECT k FROM t LIMIT 3) WHERE k IN (SELECT id FROM s WHERE s.name <> 'n9')",
    ] {
        let plan = explain(&fixture.context, sql).await;
        assert!(rows(&fixture.context, sql).await.len() <= 3, "{sql}\n{plan}");
        let (small, limited) =
            (plan.find("name@1 != n9").unwrap(), plan.find("limit=3").or(plan.find("fetch=3")).unwrap());
        assert!(small < limited, "the limited side is not the other one\n{plan}");
    }
}

#[tokio::test]
async fn an_empty_small_side_reads_nothing() {
    let (fixture, model) = large("SELECT * FROM (VALUES (1, 'a')) AS s(id, name) WHERE id > 5").await;
    for sql in JOINS {
        assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await, "{sql}");
    }
}

#[tokio::test]
async fn a_side_with_many_keys_or_null_is_joined_as_ever() {
    let many = format!("SELECT x AS id, concat('n', x) AS name FROM {}", numbers((0..100_000).step_by(30)));
    let (fixture, model) = large(&many).await;
    for sql in JOINS {
        assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await, "{sql}");
    }
    let null = "SELECT nullif(x, 3) AS nullable_id, nullif(x, 3) AS nullable, x AS id, 'a' AS name FROM (VALUES (1), (2), (3), (5)) AS s(x)";
    let (fixture, model) = large(null).await;
    for sql in JOINS {
        let sql = sql.replace("s.id", "s.nullable_id").replace("SELECT id", "SELECT nullable_id");
        assert_eq!(rows(&fixture.context, &sql).await, rows(&model, &sql).await, "{sql}");
    }
}

/// In whichever way DataFusion distributes the join, and whether it lets tables know or not.
#[tokio::test]
async fn every_way_to_join_gives_the_same() {
    let (fixture, model) = large(SMALL).await;
    let small = model.table_provider("s").await.unwrap();
    for (partitions, threshold, values, dynamic) in
        [(1, 0, 150, true), (2, 0, 150, true), (4, 0, 1, true), (4, 1 << 20, 150, true), (2, 0, 150, false)]
    {
        let mut config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(100);
        let options = &mut config.options_mut().optimizer;
        options.hash_join_single_partition_threshold = threshold;
        options.hash_join_single_partition_threshold_rows = threshold;
        options.hash_join_inlist_pushdown_max_distinct_values = values;
        options.enable_join_dynamic_filter_pushdown = dynamic;
        let context = SessionContext::new_with_config(config);
        let table = RustlingTable::new(fixture.database.clone(), "t").unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context.register_table("s", small.clone()).unwrap();
        for sql in JOINS {
            assert_eq!(rows(&context, sql).await, rows(&model, sql).await, "{sql}");
            if values == 150 && dynamic {
                let plan = analyze(&context, sql).await;
                assert!(plan.contains("by_key=1"), "{partitions} partitions, {sql}\n{plan}");
            }
        }
    }
}

/// DataFusion tells of 150 keys one by one, unless it is asked to tell of more.
#[tokio::test]
async fn a_longer_list_of_keys_is_looked_up_where_the_session_tells_of_it() {
    let many = format!("SELECT x * 300 AS id, concat('n', x) AS name FROM {}", numbers(0..900));
    let (fixture, model) = large(&many).await;
    for (told, by_key) in [(150, "by_key=0"), (1024, "by_key=1")] {
        let mut config = SessionConfig::new().with_target_partitions(2);
        config.options_mut().optimizer.hash_join_inlist_pushdown_max_distinct_values = told;
        let context = SessionContext::new_with_config(config);
        context.register_table("t", fixture.context.table_provider("t").await.unwrap()).unwrap();
        context.register_table("s", model.table_provider("s").await.unwrap()).unwrap();
        let sql = "SELECT count(*), sum(t.n) FROM s JOIN t ON s.id = t.k";
        assert_eq!(rows(&context, sql).await, rows(&model, sql).await);
        let plan = analyze(&context, sql).await;
        assert!(plan.contains(by_key), "{told}\n{plan}");
    }
}

#[tokio::test]
async fn keys_of_several_columns_are_looked_up_too() {
    let large = values(format!("SELECT x % 100 AS a, concat('b', x / 100) AS b, x AS n FROM {}", numbers(0..70_000)));
    let table = Keyed::new(&large.await, &["a", "b"]);
    let small = values(
        "SELECT x % 3 AS x, concat('b', x) AS y, arrow_cast(x, 'Int32') AS z FROM (VALUES (1), (2), (3), (4)) AS s(x)",
    );
    let small = small.await;
    let small = Arc::new(MemTable::try_new(small.schema(), vec![vec![small]]).unwrap());
    table.context.register_table("s", small.clone()).unwrap();
    table.model.register_table("s", small).unwrap();
    for sql in [
        "SELECT n, z FROM s JOIN t ON s.x = t.a AND s.y = t.b",
        "SELECT n, z FROM s JOIN t ON s.y = t.b AND s.x = t.a AND s.z = t.n % 100",
        "SELECT n, z FROM s JOIN t ON s.z = t.a AND s.y = t.b",
        "SELECT n, z FROM s LEFT JOIN t ON s.x = t.a AND s.y = t.b AND t.n > 100",
    ] {
        table.check(sql).await;
        let plan = analyze(&table.context, sql).await;
        assert!(plan.contains("by_key=1"), "{sql}\n{plan}");
    }
    // The first column of the key is a range.
    let sql = "SELECT count(*), sum(n) FROM s JOIN t ON s.x = t.a";
    table.check(sql).await;
    let plan = analyze(&table.context, sql).await;
    assert!(plan.contains("by_key=1") && plan.contains("ranges=3"), "{plan}");
    table.check("SELECT count(*), sum(n) FROM s JOIN t ON s.y = t.b").await;
}

/// A plan that is run again gives the same again.
#[tokio::test]
async fn a_plan_can_be_run_twice() {
    let (fixture, model) = large(SMALL).await;
    for sql in JOINS {
        let expected = rows(&model, sql).await;
        let plan = plan(&fixture.context, sql).await;
        let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(plan.clone()).unwrap();
        for plan in [&plan, &fresh] {
            let mut found = text(&collect(plan.clone(), fixture.context.task_ctx()).await.unwrap());
            found.sort();
            assert_eq!(found, expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn a_recursive_query_joins_in_every_round() {
    let (fixture, model) = large(SMALL).await;
    let sql = "WITH RECURSIVE r AS (SELECT 100 AS k, 0 AS depth UNION ALL \
        SELECT t.k + 1000, depth + 1 FROM r JOIN t ON r.k = t.k WHERE depth < 20) SELECT * FROM r";
    assert_eq!(rows(&fixture.context, sql).await, rows(&model, sql).await);
}

#[tokio::test]
async fn what_waits_for_a_join_says_so() {
    let (fixture, _) = large(SMALL).await;
    let plan = explain(&fixture.context, JOINS[0]).await;
    assert!(plan.contains("TableScanExec: key=[k], dynamic_filters=1"), "{plan}");
    assert!(!explain(&fixture.context, "SELECT sum(n) FROM t").await.contains("TableScanExec"));
}
