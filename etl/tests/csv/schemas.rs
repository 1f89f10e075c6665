//! What is inferred, and which types can be given.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rustling_etl::csv::source::CsvOptions;
use rustling_etl::schema_text;

use crate::{files, load, load_every_way};

#[test]
fn a_schema_is_inferred_and_what_follows_it_is_exact() {
    let content = "id,zip,price,day,at,ok,none\n1,00501,1.5,2024-01-01,2024-01-01T00:00:00Z,true,\n2,10001,20.25,,,,\n";
    let loaded = load_every_way(content, &CsvOptions::default()).unwrap();
    assert_eq!(
        schema_text::to_text(&loaded.rows.schema()).unwrap(),
        "id bigint, zip text, price decimal(18,2), day date, at timestamp with time zone, ok boolean, none text"
    );
    assert_eq!(loaded.text()[1], "2|10001|20.25|~|~|~|~");
}

#[test]
fn a_value_behind_the_sample_that_does_not_fit_advises_a_schema() {
    let content = format!("id,v\n{}3,1.5\n", "1,2\n".repeat(500));
    let options = CsvOptions { sample_records: 500, ..CsvOptions::default() };
    let want = "1.csv:502:3: column `v`: `1.5` is not a value of type bigint; \
         the type was inferred from the first 500 records, give it with --schema";
    assert_eq!(load_every_way(&content, &options).unwrap_err(), want);
    assert_eq!(load(&content, &CsvOptions::default()).unwrap().origins.len(), 501);
}

#[test]
fn an_error_in_the_sample_comes_in_its_place() {
    let want = "1.csv:2: the record has 1 fields, expected 2; put fields that hold the delimiter in double quotes";
    assert_eq!(load_every_way("a,b\n1\n2,\"", &CsvOptions::default()).unwrap_err(), want);
}

#[test]
fn the_sample_goes_over_several_files() {
    let files = files(&["a,b\n", "b,a\nx,1\n", "a,b\n2,y\n"]);
    let loaded = files.load(&CsvOptions::default()).unwrap();
    assert_eq!(schema_text::to_text(&loaded.rows.schema()).unwrap(), "a bigint, b text");
    assert_eq!(loaded.text(), ["1|x", "2|y"]);
}

/// Types are not guessed from nothing: with the next file they would be wrong.
#[test]
fn a_header_alone_is_nothing_to_infer_from() {
    let want = "the input has no record to infer columns from; give the columns with --schema";
    assert_eq!(load_every_way("a,b\n", &CsvOptions::default()).unwrap_err(), want);
    assert_eq!(load_every_way(format!("a,b\n{}", "\n".repeat(100)), &CsvOptions::default()).unwrap_err(), want);
    let schema = Some(Arc::new(schema_text::parse("a int, b int").unwrap()));
    assert_eq!(load_every_way("a,b\n", &CsvOptions { schema, ..CsvOptions::default() }).unwrap().rows.num_rows(), 0);
}

/// Such a value would have made its column another one, had it come early enough.
#[test]
fn a_value_behind_the_sample_is_read_as_strictly_as_in_it() {
    let options = CsvOptions { sample_records: 3, ..CsvOptions::default() };
    for (sample, value, data_type) in [
        ("10001", "00501", "bigint"),
        ("1", "+4930123", "bigint"),
        ("1", "-007", "bigint"),
        ("1.5", "01.5", "decimal(18,1)"),
        ("1e5", "+1e5", "double"),
        ("true", "1", "boolean"),
        ("false", "t", "boolean"),
    ] {
        let content = |value: &str| format!("id,v\n{}4,{value}\n", format!("1,{sample}\n").repeat(3));
        let want = format!(
            "1.csv:5:3: column `v`: `{value}` is not a value of type {data_type}; \
             the type was inferred from the first 3 records, give it with --schema"
        );
        assert_eq!(load_every_way(content(value), &options).unwrap_err(), want);
        assert_eq!(load_every_way(content(sample), &options).unwrap().rows.num_rows(), 4);
        let schema = Some(Arc::new(schema_text::parse(&format!("id int, v {data_type}")).unwrap()));
        let given = CsvOptions { schema, ..CsvOptions::default() };
        assert_eq!(load_every_way(content(value), &given).unwrap().rows.num_rows(), 4, "{value}");
    }
}

/// A field of this text, bare and quoted, is this value of the type.
fn check_value(data_type: &DataType, text: &str, want: &str) {
    let first = Field::new("a", data_type.clone(), true);
    let schema = Schema::new(vec![first, Field::new("b", DataType::Int8, true)]);
    let options = CsvOptions { schema: Some(Arc::new(schema)), threads: 1, ..CsvOptions::default() };
    let loaded = load(format!("a,b\n{text},1\n,2\n\"{text}\",3\n"), &options);
    let want = vec![format!("{want}|1"), "~|2".to_owned(), format!("{want}|3")];
    assert_eq!(loaded.map(|loaded| loaded.text()), Ok(want), "{data_type}");
}

#[test]
fn every_number_type_can_be_given() {
    let nines = "9".repeat(38);
    let long = format!("1{}.5", "0".repeat(60));
    for (data_type, text, want) in [
        (DataType::Boolean, "T", "true"),
        (DataType::Int8, "-128", "-128"),
        (DataType::Int16, "1", "1"),
        (DataType::Int32, " 1 ", "1"),
        (DataType::Int64, "-9223372036854775808", "-9223372036854775808"),
        (DataType::UInt8, "255", "255"),
        (DataType::UInt16, "1", "1"),
        (DataType::UInt32, "4294967295", "4294967295"),
        (DataType::UInt64, "18446744073709551615", "18446744073709551615"),
        (DataType::Float16, "0.5", "0.5"),
        (DataType::Float32, "0.1", "0.1"),
        (DataType::Float64, "1e-7", "1e-7"),
        (DataType::Decimal32(9, 2), "1.5", "1.50"),
        (DataType::Decimal64(18, 2), "-1.5", "-1.50"),
        (DataType::Decimal128(38, 0), &nines, &nines),
        (DataType::Decimal256(76, 1), &long, &long),
    ] {
        check_value(&data_type, text, want);
    }
}

#[test]
fn every_time_and_text_type_can_be_given() {
    let nano = TimeUnit::Nanosecond;
    let zoned = |zone: &str| DataType::Timestamp(TimeUnit::Second, Some(zone.into()));
    for (data_type, text, want) in [
        (DataType::Date32, "2024-02-29", "2024-02-29"),
        (DataType::Date64, "2024-02-29", "2024-02-29T00:00:00"),
        (DataType::Time32(TimeUnit::Second), "01:02:03", "01:02:03"),
        (DataType::Time32(TimeUnit::Millisecond), "01:02:03.5", "01:02:03.500"),
        (DataType::Time64(TimeUnit::Microsecond), "23:59:59.999999", "23:59:59.999999"),
        (DataType::Time64(nano), "00:00", "00:00:00"),
        (DataType::Timestamp(nano, None), "2024-02-29 01:02:03.000000001", "2024-02-29T01:02:03.000000001"),
        (zoned("+00:00"), "2024-02-29 01:00:00+02:00", "2024-02-28T23:00:00Z"),
        (zoned("+02:00"), "2024-02-29", "2024-02-29T00:00:00+02:00"),
        (DataType::Utf8, " x ", " x "),
        (DataType::LargeUtf8, "x", "x"),
        (DataType::Utf8View, "a text of more than twelve bytes", "a text of more than twelve bytes"),
        (DataType::Binary, "\\x61", "5c783631"),
        (DataType::LargeBinary, "a", "61"),
        (DataType::BinaryView, "a", "61"),
    ] {
        check_value(&data_type, text, want);
    }
}

#[test]
fn schemas_that_cannot_be_read_into_are_refused() {
    let check = |fields: Vec<Field>, want: &str| {
        let options = CsvOptions { schema: Some(Arc::new(Schema::new(fields))), ..CsvOptions::default() };
        let error = load("a\n", &options).unwrap_err();
        assert!(error.contains(want), "{error}");
    };
    check(vec![], "the schema has no column");
    check(vec![Field::new("a", DataType::Int8, true), Field::new("a", DataType::Int8, true)], "named twice");
    check(vec![Field::new("a", DataType::new_list(DataType::Int8, true), true)], "column `a` has type List");
    check(vec![Field::new("a", DataType::Decimal128(5, -2), true)], "column `a` has type Decimal128(5, -2)");
}

#[test]
fn required_columns_must_have_values_also_where_they_are_inferred() {
    let options = CsvOptions { required: vec!["id".to_owned(), "other".to_owned()], ..CsvOptions::default() };
    let loaded = load_every_way("id,name\n1,\n", &options).unwrap();
    assert_eq!(schema_text::to_text(&loaded.rows.schema()).unwrap(), "id bigint not null, name text");
    let want = "1.csv:3:1: column `id`: the field is empty (NULL), but the column is not null";
    assert_eq!(load_every_way("id,name\n1,one\n,two\n", &options).unwrap_err(), want);
}
