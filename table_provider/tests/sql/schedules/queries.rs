//! Random queries over random tables.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::schedules::columns::{Column, Columns};

/// A condition over the columns of `t`.
pub(crate) fn condition(columns: &Columns, random: &mut StdRng) -> String {
    let count = random.random_range(1..4);
    let parts: Vec<String> = (0..count).map(|_| comparison(columns, random)).collect();
    parts.join([" AND ", " OR ", " AND NOT "].choose(random).unwrap())
}

fn comparison(columns: &Columns, random: &mut StdRng) -> String {
    let column = columns.all.choose(random).unwrap();
    let name = &column.name;
    let mut literal = || column.kind.literal(columns.random_number(random, column));
    let (a, b, c) = (literal(), literal(), literal());
    match random.random_range(0..12) {
        0 => format!("({name} IS NULL)"),
        1 => format!("({name} IS NOT NULL)"),
        2 => format!("({name} IN ({a}, {b}, {c}))"),
        3 => format!("({name} NOT IN ({a}, {b}))"),
        4 | 5 => format!("({name} BETWEEN {a} AND {b})"),
        6 if column.kind.is_text() => format!("({name} LIKE '%{}')", random.random_range(0..10)),
        6 if column.kind.is_exact_number() => format!("({name} % 3 = 1)"),
        7 => format!("(CASE WHEN {name} = {a} THEN true ELSE {name} > {b} END)"),
        _ => format!("({name} {} {a})", ["=", "<", "<=", ">", ">=", "<>"].choose(random).unwrap()),
    }
}

/// A query over `t` whose answer is one whatever the order of its rows.
pub(crate) fn query(columns: &Columns, random: &mut StdRng) -> String {
    if random.random_bool(0.4) {
        return key_query(columns, random);
    }
    let wanted = if random.random_bool(0.8) { condition(columns, random) } else { "true".to_owned() };
    let limit = random.random_range(0..40);
    let names = |columns: &[&Column]| columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>().join(", ");
    let (one, other) = (columns.all.choose(random).unwrap(), columns.all.choose(random).unwrap());
    let (one_name, other_name) = (&one.name, &other.name);
    let direction = ["", " DESC", " NULLS FIRST"].choose(random).unwrap();
    // With all columns behind it an order leaves nothing open but rows that are the same.
    let all = names(&columns.all.iter().collect::<Vec<_>>());
    let key = if columns.key().is_empty() { all.clone() } else { names(&columns.key()) };
    let first_of_key = key.split(',').next().unwrap_or_default();
    let sum = if one.kind.is_exact_number() { format!("sum({one_name})") } else { format!("count({one_name})") };
    // Three rows of each.
    let repeated = format!("(SELECT {key}, unnest(make_array(1, 2, 2)) AS repeated FROM t WHERE {wanted})");
    match random.random_range(0..19) {
        0 => format!("SELECT * FROM t WHERE {wanted}"),
        1 => format!("SELECT {one_name}, {other_name} AS other FROM t WHERE {wanted}"),
        2 => format!("SELECT count(*) FROM t WHERE {wanted}"),
        3 => format!("SELECT count(*), min({one_name}), max({one_name}), count({other_name}) AS others, {sum} FROM t"),
        4 => {
            format!("SELECT {other_name}, count(*), {sum}, max({one_name}) FROM t WHERE {wanted} GROUP BY {other_name}")
        }
        5 => format!("SELECT {all} FROM t WHERE {wanted} ORDER BY {key} LIMIT {limit}"),
        6 => format!("SELECT {key} FROM t ORDER BY {first_of_key} DESC, {key} LIMIT {limit}"),
        7 => format!(
            "SELECT {one_name} AS one, {key} FROM t WHERE {wanted} ORDER BY {one_name}{direction}, {all} LIMIT {limit} OFFSET 3"
        ),
        8 => format!("SELECT count(*) FROM (SELECT {one_name} FROM t WHERE {wanted} LIMIT {limit})"),
        9 => format!("SELECT DISTINCT {one_name} FROM t WHERE {wanted}"),
        10 => format!(
            "SELECT a.{one_name}, count(*), max(b.{other_name}) FROM (SELECT * FROM t WHERE {wanted}) a \
             JOIN t b ON a.{first_of_key} = b.{first_of_key} GROUP BY a.{one_name}"
        ),
        11 => format!("SELECT {key} FROM t WHERE {one_name} IN (SELECT {one_name} FROM t WHERE {wanted})"),
        12 => format!(
            "SELECT count(*) FROM t a LEFT JOIN (SELECT * FROM t WHERE {wanted}) b ON a.{one_name} = b.{one_name}"
        ),
        13 => format!(
            "SELECT {one_name} AS one, {all}, count(*) OVER (ORDER BY {one_name}, {all} ROWS UNBOUNDED PRECEDING) AS place \
             FROM t WHERE {wanted} ORDER BY {one_name}{direction}, {all}"
        ),
        14 => format!(
            "SELECT * FROM (SELECT {other_name} AS other, {all} FROM t WHERE {wanted} \
             ORDER BY {other_name}{direction}, {all} LIMIT {limit}) ORDER BY other DESC, {all} LIMIT 20"
        ),
        15 => format!("SELECT DISTINCT {key} FROM {repeated}"),
        16 => format!("SELECT {key}, count(*) FROM {repeated} GROUP BY {key}, repeated"),
        17 => format!("SELECT {key}, count(*), max({one_name}) FROM t WHERE {wanted} GROUP BY {key} ORDER BY {key}"),
        _ => "SELECT count(*) FROM t".to_owned(),
    }
}

/// A query over `t` that may be answered by key.
fn key_query(columns: &Columns, random: &mut StdRng) -> String {
    let key = if columns.key().is_empty() { columns.all.iter().collect() } else { columns.key() };
    let list =
        |direction: &str| key.iter().map(|column| format!("{}{direction}", column.name)).collect::<Vec<_>>().join(", ");
    let direction = *["", " DESC"].choose(random).unwrap();
    let other = &columns.all.choose(random).unwrap().name;
    let limit = random.random_range(0..40);
    let order = format!("ORDER BY {} LIMIT {limit}", list(direction));
    match random.random_range(0..6) {
        0 => format!("SELECT * FROM t WHERE {}", key_condition(columns, &key, random)),
        1 => format!(
            "SELECT {other} AS other, {} FROM t WHERE {} {order}",
            list(""),
            key_condition(columns, &key, random)
        ),
        2 => {
            let condition = condition(columns, random);
            format!(
                "SELECT {} FROM t WHERE {} AND ({condition}) {order}",
                list(""),
                key_condition(columns, &key, random)
            )
        }
        3 => format!("SELECT {}, {other} AS other FROM t {order} OFFSET 2", list("")),
        _ => small_join(columns, &key, other, random),
    }
}

/// A condition on the first few columns of the key, or all.
fn key_condition(columns: &Columns, key: &[&Column], random: &mut StdRng) -> String {
    let count = if random.random_bool(0.6) { key.len() } else { random.random_range(1..=key.len()) };
    let mut parts = Vec::new();
    for (place, column) in key[..count].iter().enumerate() {
        let mut literal = || column.kind.literal(columns.random_number(random, column));
        let (a, b, c, name) = (literal(), literal(), literal(), &column.name);
        let is_last = place + 1 == count;
        parts.push(match random.random_range(0..6) {
            0 => format!("{name} IN ({a}, {b}, {c})"),
            1 => format!("({name} = {a} OR {name} = {b})"),
            2 if is_last => format!("{name} BETWEEN {a} AND {b}"),
            3 if is_last => format!("{name} > {a}"),
            4 if is_last => format!("({name} <= {a} OR {b} < {name})"),
            _ => format!("{name} = {a}"),
        });
    }
    parts.join(" AND ")
}

/// A join of the table with a few keys.
fn small_join(columns: &Columns, key: &[&Column], other: &str, random: &mut StdRng) -> String {
    let count = random.random_range(1..5);
    let row = |random: &mut StdRng| {
        let values = key.iter().map(|column| column.kind.literal(columns.random_number(random, column)));
        format!("({})", values.collect::<Vec<_>>().join(", "))
    };
    let rows = (0..count).map(|_| row(random)).collect::<Vec<_>>().join(", ");
    let names = (0..key.len()).map(|place| format!("s{place}")).collect::<Vec<_>>().join(", ");
    let on = key.iter().enumerate().map(|(place, column)| format!("s.s{place} = t.{}", column.name));
    let on = on.collect::<Vec<_>>().join(" AND ");
    let small = format!("(VALUES {rows}) AS s({names})");
    match random.random_range(0..4) {
        0 => format!("SELECT s.s0, t.{other} FROM {small} LEFT JOIN t ON {on}"),
        1 => format!("SELECT t.{other} FROM t WHERE EXISTS (SELECT 1 FROM {small} WHERE {on})"),
        2 => format!("SELECT s.s0 FROM {small} WHERE NOT EXISTS (SELECT 1 FROM t WHERE {on})"),
        _ => format!("SELECT s.*, t.{other} AS other FROM {small} JOIN t ON {on}"),
    }
}
