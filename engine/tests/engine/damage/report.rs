//! What opening says of what it found.

use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::sim::Image;

use crate::damage::reference::{Scale, Script, kind, options};

/// A killed database whose last group is `count` batches, its last segment, and where that group starts in it.
fn killed(count: i64) -> (Image, String, usize) {
    let mut script = Script::new(Scale::Small);
    script.fill_segment(|_| {});
    let start = usize::try_from(script.db.report().wal_end.length).unwrap();
    let group: Vec<_> = (0..count).map(|key| script.batch(key + 10..key + 11, 0..0, "")).collect();
    script.db.write_group(&group).unwrap().into_iter().for_each(|written| assert!(written.is_ok(), "{written:?}"));
    let image = script.image();
    let (path, _) = image.files().filter(|(path, _)| kind(path) == "log").last().unwrap();
    (image.clone(), path.to_owned(), start)
}

fn report(image: Image) -> String {
    let db = Database::open(Arc::new(image.into_disk()), options(Scale::Small)).unwrap();
    db.open_report().to_string()
}

#[test]
fn a_cut_tail_is_reported_with_its_place_and_with_why_nobody_was_told() {
    let (image, path, start) = killed(1);
    let bytes = image.file(&path).unwrap().to_vec();
    // Zeros at its end would not be told from space that was reserved.
    let left = (50..).find(|left| bytes[start + left - 1] != 0).unwrap();
    let text = report(image.with_file(&path, bytes[..start + left].to_vec()));
    let expected = format!(
        "3 write batches were read from the log again; {path}: bytes {start} to {} were cut off: the record there is \
         not whole (`record` needs 168 bytes but only {left} are left), and nothing behind it shows that it was ever \
         durable, so it belongs to the last sync group, whose writers were not told that it was; if neither the \
         process nor the machine stopped while it wrote, then the disk is at fault",
        start + left
    );
    assert_eq!(text, expected);
}

#[test]
fn whole_records_that_go_with_a_torn_one_are_counted() {
    let (image, path, start) = killed(3);
    let mut bytes = image.file(&path).unwrap().to_vec();
    bytes[start + 44] ^= 1;
    let text = report(image.with_file(&path, bytes));
    assert!(text.contains("checksum is ") && text.contains("; 2 whole records of that group went with it;"), "{text}");
}

#[test]
fn files_that_were_removed_are_reported() {
    let script = Script::new(Scale::Small);
    script.db.close().unwrap();
    let image = script.image().with_file("staging/spill-1", vec![1]).with_file("staging/spill-2", vec![2]);
    let expected = "0 write batches were read from the log again; 2 files that no committed state names were removed, \
                    the first of them staging/spill-1";
    assert_eq!(report(image), expected);
    assert_eq!(report(rustling_engine::disk::sim::SimDisk::new().killed_image(0)), "created the database");
}
