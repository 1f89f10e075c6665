//! Keys of every type, alone and in front of another column.

use crate::keys::{Keyed, numbers, values};

/// Types of keys, and how a value of each is made of a number `{x}` from 0 to 59.
const TYPES: [(&str, &str); 31] = [
    ("Int8", "arrow_cast({x} - 30, 'Int8')"),
    ("Int16", "arrow_cast(({x} - 30) * 1000, 'Int16')"),
    ("Int32", "arrow_cast(({x} - 30) * 70000000, 'Int32')"),
    ("Int64", "({x} - 30) * 300000000000000000"),
    ("UInt8", "arrow_cast({x} * 4, 'UInt8')"),
    ("UInt16", "arrow_cast({x} * 1000, 'UInt16')"),
    ("UInt32", "arrow_cast({x} * 70000000, 'UInt32')"),
    ("UInt64", "arrow_cast({x}, 'UInt64') * arrow_cast(300000000000000000, 'UInt64')"),
    ("Float16", "arrow_cast(arrow_cast({x} - 30, 'Float32') / 4, 'Float16')"),
    ("Float32", "arrow_cast({x} - 30, 'Float32') / 7"),
    ("Float64", "arrow_cast({x} - 30, 'Float64') / 7"),
    ("Boolean", "({x} >= 30)"),
    ("Decimal32(7, 2)", "arrow_cast(({x} - 30) * 1.25, 'Decimal32(7, 2)')"),
    ("Decimal64(14, 3)", "arrow_cast(({x} - 30) * 1.25, 'Decimal64(14, 3)')"),
    ("Decimal128(30, 4)", "arrow_cast(({x} - 30) * 1.25, 'Decimal128(30, 4)')"),
    ("Decimal256(60, 4)", "arrow_cast(({x} - 30) * 1.25, 'Decimal256(60, 4)')"),
    ("Date32", "arrow_cast(arrow_cast({x} * 400, 'Int32'), 'Date32')"),
    ("Date64", "arrow_cast(arrow_cast(arrow_cast({x} * 400, 'Int32'), 'Date32'), 'Date64')"),
    ("Time32(Second)", "arrow_cast(arrow_cast({x} * 1000, 'Int32'), 'Time32(Second)')"),
    ("Time64(Microsecond)", "arrow_cast({x} * 1000000001, 'Time64(Microsecond)')"),
    ("Timestamp(Second)", "arrow_cast(({x} - 30) * 86399, 'Timestamp(Second, None)')"),
    ("Timestamp(Millisecond)", "arrow_cast(({x} - 30) * 86399001, 'Timestamp(Millisecond, None)')"),
    ("Timestamp(Microsecond)", "arrow_cast(({x} - 30) * 86399000001, 'Timestamp(Microsecond, Some(\"UTC\"))')"),
    ("Timestamp(Nanosecond)", "arrow_cast(({x} - 30) * 86399000000001, 'Timestamp(Nanosecond, Some(\"+01:00\"))')"),
    ("Utf8", "arrow_cast(concat(repeat('word ', {x} % 4), {x}), 'Utf8')"),
    ("LargeUtf8", "arrow_cast(concat(repeat('word ', {x} % 4), {x}), 'LargeUtf8')"),
    ("Utf8View", "arrow_cast(concat(repeat('word ', {x} % 4), {x}), 'Utf8View')"),
    ("Binary", "arrow_cast(arrow_cast(concat('b', {x}), 'Utf8'), 'Binary')"),
    ("LargeBinary", "arrow_cast(arrow_cast(concat('b', {x}), 'Utf8'), 'LargeBinary')"),
    ("BinaryView", "arrow_cast(arrow_cast(concat('b', {x}), 'Utf8'), 'BinaryView')"),
    ("FixedSizeBinary(3)", "arrow_cast(arrow_cast(concat('b', 10 + {x}), 'Binary'), 'FixedSizeBinary(3)')"),
];

/// Queries for values `a`, `b`, `c` of the key.
fn queries(a: &str, b: &str, c: &str) -> Vec<String> {
    let conditions = [
        format!("k = {a}"),
        format!("{b} = k"),
        format!("k IN ({a}, {b}, {c}, {a})"),
        format!("k = {a} OR k = {c}"),
        format!("k NOT IN ({a}, {b})"),
        format!("k BETWEEN {a} AND {b}"),
        format!("k > {a} AND k < {b}"),
        format!("k >= {a} AND k <= {c} AND n >= 0"),
        format!("k < {a} OR k > {b}"),
        format!("NOT (k = {a})"),
        format!("NOT (k < {b})"),
        format!("{a} < k"),
        format!("{b} >= k"),
        format!("k = {a} AND k = {b}"),
        format!("k IS NOT DISTINCT FROM {a}"),
        format!("k IS DISTINCT FROM {a}"),
        format!("k = {a} OR n = 1"),
        format!("k IN ({a}, {b}) AND n % 2 = 0"),
        format!("CASE WHEN n % 2 = 0 THEN k = {a} ELSE k > {b} END"),
    ];
    let mut queries: Vec<String> =
        conditions.iter().map(|condition| format!("SELECT k, n, m FROM t WHERE {condition}")).collect();
    for direction in ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"] {
        queries.push(format!("SELECT n, k, m FROM t ORDER BY k{direction}, n LIMIT 7 OFFSET 2"));
        queries.push(format!("SELECT n, m FROM t WHERE k >= {a} AND k < {b} ORDER BY k{direction}, n"));
    }
    queries
}

async fn check(name: &str, value: &str, key: &[&str]) {
    let of = |x: &str| value.replace("{x}", x);
    let rows = values(format!("SELECT {} AS k, x AS n FROM {} ORDER BY x", of("x"), numbers(0..60))).await;
    let table = Keyed::new(&rows, key);
    println!("{name}");
    for (a, b, c) in [(0, 59, 30), (8, 24, 25), (41, 5, 60), (3, 7, 11)] {
        for sql in queries(&of(&a.to_string()), &of(&b.to_string()), &of(&c.to_string())) {
            table.check(&sql).await;
        }
    }
}

#[tokio::test]
async fn keys_of_every_type_are_found_and_ordered() {
    for (name, value) in TYPES {
        let key: &[&str] = if name == "Boolean" { &["k", "n"] } else { &["k"] };
        check(name, value, key).await;
    }
}

#[tokio::test]
async fn keys_of_every_type_are_found_in_front_of_another_column() {
    for (name, value) in TYPES {
        check(name, value, &["k", "n"]).await;
    }
}
