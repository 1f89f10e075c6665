//! Tests of the schema text.

use super::*;

fn one(data_type: &str) -> DataType {
    parse(&format!("c {data_type}")).unwrap().field(0).data_type().clone()
}

#[test]
fn every_type_name_is_read_and_written_back() {
    let zoned = |unit| DataType::Timestamp(unit, Some(ZONE.into()));
    let micro = TimeUnit::Microsecond;
    for (names, data_type) in [
        ("boolean|BOOL", DataType::Boolean),
        ("tinyint", DataType::Int8),
        ("smallint", DataType::Int16),
        ("int|Integer", DataType::Int32),
        ("bigint", DataType::Int64),
        ("tinyint unsigned", DataType::UInt8),
        ("smallint UNSIGNED", DataType::UInt16),
        ("integer unsigned", DataType::UInt32),
        ("bigint unsigned", DataType::UInt64),
        ("real|float4", DataType::Float32),
        ("double|double precision|float|float8", DataType::Float64),
        ("decimal(15,2)|numeric ( 15 , 2 )", DataType::Decimal128(15, 2)),
        ("decimal(9)", DataType::Decimal128(9, 0)),
        ("decimal(76,76)", DataType::Decimal256(76, 76)),
        ("text|varchar|varchar(10)|char(3)|string|character varying(5)", DataType::Utf8),
        ("bytea|blob|binary|varbinary", DataType::Binary),
        ("date", DataType::Date32),
        ("time|time without time zone", DataType::Time64(micro)),
        ("time(3)", DataType::Time32(TimeUnit::Millisecond)),
        ("timestamp|timestamp(6)|timestamp without time zone", DataType::Timestamp(micro, None)),
        ("timestamp(9)", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        ("timestamptz|timestamp with time zone", zoned(micro)),
        ("timestamptz(0)|timestamp(0) with time zone", zoned(TimeUnit::Second)),
    ] {
        for name in names.split('|') {
            assert_eq!(one(name), data_type, "{name}");
        }
        assert_eq!(one(&type_name(&data_type).unwrap()), data_type);
    }
}

#[test]
fn names_nullability_and_quotes_round_trip() {
    let text = "Id bigint not null , \"a \"\"b\"\", c\" Text null,\n größe decimal(15,2)";
    let schema = parse(text).unwrap();
    assert_eq!(
        schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(),
        ["Id", "a \"b\", c", "größe"]
    );
    assert_eq!(schema.fields().iter().map(|field| field.is_nullable()).collect::<Vec<_>>(), [false, true, true]);
    let written = to_text(&schema).unwrap();
    assert_eq!(written, "Id bigint not null, \"a \"\"b\"\", c\" text, größe decimal(15,2)");
    assert_eq!(parse(&written).unwrap(), schema);
}

#[test]
fn a_bad_text_is_refused_with_its_place() {
    let check = |text: &str, want: &str| {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    };
    check("  ", "the schema is empty");
    check("id", "byte 3: expected a type, found the end");
    check("id bigint,", "byte 11: expected a column name");
    check("id bigint primary key", "byte 11: expected `,` or `not null`, found `primary`");
    check("id bigint not nil", "byte 15: expected `null` after `not`, found `nil`");
    check("id uuid", "byte 4: column `id` has the unknown type `uuid`; known types are boolean, tinyint");
    check("\"id bigint", "byte 1: the quoted name");
    check("\"\" bigint", "byte 1: expected a column name");
    check("id bigint, id int", "byte 12: column `id` is named twice");
    check("p decimal", "byte 3: column `p`: write decimal(p,s)");
    check("p decimal(5,6)", "write decimal(p,s)");
    check("p decimal(77,0)", "write decimal(p,s)");
    check("p decimal(5,", "byte 13: expected a number, found the end");
    check("p decimal(99999999999)", "byte 11: expected a number");
    check("t timestamp(4)", "0, 3, 6 or 9 digits");
    check("t timestamp with zone", "`time zone` after `with`");
    check("-a int", "expected a column name");
}

#[test]
fn a_type_without_a_name_is_an_error_on_the_way_back() {
    let schema = Schema::new(vec![Field::new("l", DataType::new_list(DataType::Int64, true), true)]);
    assert!(to_text(&schema).unwrap_err().to_string().contains("column `l`"));
}
