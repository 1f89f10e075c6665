//! Manifests whose checksum holds and whose content cannot be: refused with a reason, and the folder stays as it is.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::api::Disk;
use rustling_engine::disk::sim::Image;
use rustling_engine::dump::{dump_keys, dump_manifest, dump_sst, dump_wal, list_runs};
use rustling_engine::error::{Damage, Error};
use rustling_engine::id::{ColumnId, ManifestId, RunId, SeqNo, TableId, WalId};
use rustling_engine::version::manifest::Manifest;
use serde_json::Value;

use crate::damage::reference::{Reference, Scale, kind, options};

/// The newest manifest of a closed database.
fn newest(image: &Image) -> (String, Manifest) {
    let (path, bytes) = image.files().find(|(path, _)| kind(path) == "manifest").unwrap();
    let id: u64 = path["manifest/".len()..][..20].parse().unwrap();
    (path.to_owned(), Manifest::decode(path, ManifestId(id), bytes).unwrap())
}

/// Opens a database whose newest manifest is this text behind its right checksum; nothing is changed by that.
fn refuse(image: &Image, path: &str, text: &[u8]) -> Error {
    let header = format!("rustling manifest crc32c {:08x}\n", crc32c(text));
    let image = image.with_file(path, [header.as_bytes(), text].concat());
    let mut answers = Vec::new();
    for create in [true, false] {
        let disk = image.clone().into_disk();
        let options = rustling_engine::config::Options { create, ..options(Scale::Small) };
        let opened = catch_unwind(AssertUnwindSafe(|| Database::open(Arc::new(disk.clone()), options)));
        assert_eq!(disk.killed_image(disk.boundaries()).digest(), image.digest(), "the folder was changed");
        answers.extend(opened.unwrap().err());
    }
    assert_eq!(answers.len(), 2, "it opened");
    answers.swap_remove(0)
}

/// Shows what can be shown of a folder with such a manifest; how much that is does not matter.
fn dump(image: &Image, path: &str, text: &[u8]) {
    let header = format!("rustling manifest crc32c {:08x}\n", crc32c(text));
    let disk = image.with_file(path, [header.as_bytes(), text].concat()).into_disk();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let _ = dump_manifest(&*disk, &mut |_| ControlFlow::Continue(()));
    let _ = list_runs(&*disk, None, &mut |_| ControlFlow::Continue(()));
    let _ = dump_wal(&*disk, &mut |_| ControlFlow::Continue(()));
    for run in 1..9 {
        let _ = dump_sst(&*disk, RunId(run), &mut |_| ControlFlow::Continue(()));
        let _ = dump_keys(&disk, RunId(run), &mut |_| ControlFlow::Continue(()));
    }
}

/// CRC32C bit by bit: the engine's own must not be asked whether it is right.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// An edit of a manifest, by name.
type Edit = (&'static str, fn(&mut Manifest));

/// Edits of numbers and of lists of tables.
const EDITS: [Edit; 21] = [
    ("another number", |m| m.id = m.id.next()),
    ("the highest number", |m| m.id = ManifestId(u64::MAX)),
    ("no number", |m| m.id = ManifestId(0)),
    ("next_table too low", |m| m.next_table = TableId(2)),
    ("next_table at its end", |m| m.next_table = TableId(u64::MAX)),
    ("next_run too low", |m| m.next_run = RunId(1)),
    ("next_run at its end", |m| m.next_run = RunId(u64::MAX)),
    ("last_seq too low", |m| m.last_seq = SeqNo(1)),
    ("last_seq at its end", |m| m.last_seq = SeqNo(u64::MAX)),
    ("a log that ends before it starts", |m| m.wal_floor = m.wal_end.segment.next()),
    ("a log that starts nowhere", |m| m.wal_floor = WalId(0)),
    ("a log that starts with a segment that is gone", |m| m.wal_floor = WalId(1)),
    ("a log that ends later", |m| m.wal_end.length += 1),
    ("a log that ends as late as can be", |m| m.wal_end.length = u64::MAX),
    ("a log that ends in a later segment", |m| m.wal_end.segment = m.wal_end.segment.next()),
    ("a log that ends in the last segment that can be", |m| m.wal_end.segment = WalId(u64::MAX)),
    ("another database", |m| m.database.0 ^= 1),
    ("a table twice", |m| m.tables.push(m.tables[2].clone())),
    ("a name twice", |m| m.tables[1].name = m.tables[0].name.clone()),
    ("tables out of order", |m| m.tables.swap(0, 1)),
    ("the tables' ids swapped", |m| {
        let (a, b) = (m.tables[0].id, m.tables[1].id);
        (m.tables[0].id, m.tables[1].id) = (b, a);
    }),
];

/// Edits of one table and of its runs.
const TABLE_EDITS: [Edit; 24] = [
    ("flushed later than anything was written", |m| m.tables[0].flushed_through = SeqNo(u64::MAX)),
    ("flushed earlier than its runs", |m| m.tables[0].flushed_through = SeqNo(1)),
    ("no next row id", |m| m.tables[2].next_row_id = 0),
    ("a next row id below zero", |m| m.tables[2].next_row_id = -1),
    ("the last row id", |m| m.tables[2].next_row_id = i64::MAX),
    ("a key column that is not there", |m| m.tables[0].schema.key = vec!["none".to_owned()]),
    ("a key column twice", |m| m.tables[1].schema.key = vec!["region".to_owned(); 2]),
    ("a column id too few", |m| m.tables[0].schema.column_ids.truncate(1)),
    ("a column id twice", |m| m.tables[0].schema.column_ids = vec![ColumnId(1); 2]),
    ("a schema that is no hexadecimal text", |m| m.tables[0].schema.arrow = "xyz".to_owned()),
    ("a schema that is nothing", |m| m.tables[0].schema.arrow.clear()),
    ("a schema that is cut", |m| m.tables[0].schema.arrow.truncate(40)),
    ("the schema of another table", |m| m.tables[0].schema.arrow = m.tables[2].schema.arrow.clone()),
    ("sequence numbers the wrong way round", |m| {
        let run = &mut m.tables[0].runs[0];
        run.min_seq = run.max_seq.next();
    }),
    ("runs that overlap", |m| {
        let oldest = m.tables[0].runs.last().unwrap().min_seq;
        m.tables[0].runs[0].min_seq = oldest;
    }),
    ("a run twice", |m| m.tables[0].runs.extend_from_within(..1)),
    ("a run of another table", |m| {
        let other = m.tables[1].runs[0].clone();
        m.tables[0].runs.push(other);
    }),
    ("keys the wrong way round", |m| {
        let range = m.tables[0].runs[0].files.key_range.as_mut().unwrap();
        std::mem::swap(&mut range.min, &mut range.max);
    }),
    ("no keys", |m| m.tables[0].runs[0].files.key_range = None),
    ("more rows", |m| m.tables[0].runs[0].files.rows = u64::MAX),
    ("a longer SST", |m| m.tables[0].runs[0].files.sst.bytes += 1),
    ("an SST as long as can be", |m| m.tables[0].runs[0].files.sst.bytes = u64::MAX),
    ("another key index", |m| m.tables[0].runs[0].files.footer_checksum ^= 1),
    ("deleted keys that are none", |m| {
        m.tables[1].runs.iter_mut().filter_map(|run| run.files.deletes.as_mut()).for_each(|deletes| deletes.count = 0);
    }),
];

#[test]
fn a_manifest_that_cannot_be_is_refused_behind_a_right_checksum() {
    let image = Reference::closed(Scale::Small).image;
    let (path, manifest) = newest(&image);
    for (name, edit) in EDITS.iter().chain(&TABLE_EDITS) {
        let mut edited = manifest.clone();
        edit(&mut edited);
        let text = serde_json::to_vec(&edited).unwrap();
        dump(&image, &path, &text);
        let error = refuse(&image, &path, &text);
        let Error::Corrupt { path: named, .. } = &error else { panic!("{name}: {error}") };
        // What a manifest says of other files may be contradicted by them: then they are named.
        assert!(*named == path || named.starts_with("wal/") || named.starts_with("tables/"), "{name}: {error}");
        println!("{name}: {error}");
    }
}

#[test]
fn a_manifest_under_the_first_and_the_last_name_there_can_be_is_refused() {
    let image = Reference::closed(Scale::Small).image;
    let (path, manifest) = newest(&image);
    for id in [0, u64::MAX] {
        let mut edited = manifest.clone();
        edited.id = ManifestId(id);
        let renamed = format!("manifest/{id:020}.json");
        let error = refuse(&image.without_file(&path), &renamed, &serde_json::to_vec(&edited).unwrap());
        assert!(matches!(&error, Error::Corrupt { path, .. } if *path == renamed), "{error}");
    }
}

#[test]
fn text_that_is_no_manifest_is_refused_behind_a_right_checksum() {
    let image = Reference::closed(Scale::Small).image;
    let (path, manifest) = newest(&image);
    let whole = serde_json::to_string(&manifest).unwrap();
    let deep = format!("{{\"format\":1,\"features\":[],\"x\":{}", "[".repeat(100_000));
    let cases =
        ["", "{}", "[]", "null", "\u{feff}{}", &deep, &whole[..whole.len() / 2], &whole.replacen("1,", "-1,", 1)];
    for text in cases.iter().map(|text| text.as_bytes()).chain([&b"\xff\xfe"[..]]) {
        let error = refuse(&image, &path, text);
        let parsed = matches!(&error, Error::Corrupt { path: named, damage: Damage::Json(_), .. } if *named == path);
        assert!(parsed, "{:.80}: {error}", String::from_utf8_lossy(text));
    }
}

/// Puts a field into every object.
fn add_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(add_fields);
            fields.insert("new".to_owned(), serde_json::json!([1, {"x": null}]));
        }
        Value::Array(values) => values.iter_mut().for_each(add_fields),
        _ => {}
    }
}

#[test]
fn fields_that_are_not_known_mean_nothing() {
    let (path, manifest) = newest(&Reference::closed(Scale::Small).image);
    assert!(manifest.tables.iter().any(|table| !table.runs.is_empty() && table.deletions.is_some()));
    let mut value = serde_json::to_value(&manifest).unwrap();
    add_fields(&mut value);
    let text = serde_json::to_vec(&value).unwrap();
    let bytes = [format!("rustling manifest crc32c {:08x}\n", crc32c(&text)).as_bytes(), &text].concat();
    assert_eq!(Manifest::decode(&path, manifest.id, &bytes).unwrap(), manifest);
}

/// Nothing is written beside a database that a newer version wrote, be it asked to create one or not.
#[test]
fn a_newer_format_and_unknown_features_are_refused_by_name_and_left_alone() {
    let image = Reference::closed(Scale::Small).image;
    let (path, manifest) = newest(&image);
    let edited = |format, features: &[&str]| {
        let features = features.iter().map(|feature| (*feature).to_owned()).collect();
        serde_json::to_string(&Manifest { format, features, ..manifest.clone() }).unwrap()
    };
    // The newer format may have other fields: only those two must be there.
    let newer = "{\"format\": 3, \"features\": [\"anything\"], \"tables\": \"elsewhere\"}".to_owned();
    for text in [edited(3, &[]), edited(u32::MAX, &["x"]), newer] {
        let error = refuse(&image, &path, text.as_bytes());
        assert!(matches!(&error, Error::FormatTooNew { path: named, supported: 2, .. } if *named == path), "{error}");
    }
    let error = refuse(&image, &path, edited(1, &["deletion vectors", "x"]).as_bytes());
    let Error::UnknownFeature { path: named, feature } = &error else { panic!("{error}") };
    assert_eq!((named.as_str(), feature.as_str()), (path.as_str(), "deletion vectors"));
    let error = refuse(&image, &path, edited(0, &[]).as_bytes());
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}
