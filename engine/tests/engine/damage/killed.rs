//! The log of a database that was killed: what can be told from a torn tail is damage; the rest is cut off, and told.
//!
//! Every record that something behind it shows to have been durable is kept or named, whatever happens to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustling_engine::database::Database;
use rustling_engine::disk::path;
use rustling_engine::disk::sim::Image;
use rustling_engine::error::{Damage, Error};
use rustling_engine::id::{SeqNo, WalId};
use rustling_engine::version::manifest::Manifest;
use rustling_engine::wal::log::LogEnd;
use rustling_engine::wal::record::{RecordKind, SEGMENT_HEADER_BYTES, frame, read_frame, zeros_from};

use crate::damage::oracle::check_model;
use crate::damage::reference::{Model, Scale, Script, kind, options};

/// A record of the log.
#[derive(Clone, Copy, Debug)]
struct Record {
    segment: WalId,
    start: u64,
    end: u64,
    group_start: u64,
    /// The highest sequence number of the log before it.
    seq_before: SeqNo,
}

/// What a killed process left, and what it held after each sequence number.
struct Killed {
    image: Image,
    models: BTreeMap<SeqNo, Model>,
    records: Vec<Record>,
    known_end: LogEnd,
}

impl Killed {
    fn new(mut script: Script, models: BTreeMap<SeqNo, Model>) -> Self {
        script.model = Model::default();
        let image = script.image();
        let (path, bytes) = image.files().find(|(path, _)| kind(path) == "manifest").unwrap();
        let id = path::parse_manifest(path.rsplit('/').next().unwrap()).unwrap();
        let known_end = Manifest::decode(path, id, bytes).unwrap().wal_end;
        let mut records = Vec::new();
        let mut seq_before = SeqNo(0);
        for (path, bytes) in image.files().filter(|(path, _)| kind(path) == "log") {
            let segment = path::parse_wal(path.rsplit('/').next().unwrap()).unwrap();
            let mut start = SEGMENT_HEADER_BYTES;
            while start < zeros_from(bytes) {
                let found = read_frame(bytes, segment, start).unwrap();
                let (end, group_start) = (found.end, found.group_start);
                records.push(Record { segment, start, end, group_start, seq_before });
                seq_before = seq_before.max(found.seq);
                start = end;
            }
        }
        Self { image, models, records, known_end }
    }

    /// Whether anything shows that a place in the log was durable once.
    fn is_shown(&self, segment: WalId, start: u64) -> bool {
        let later =
            |record: &Record| record.segment > segment || record.segment == segment && record.group_start > start;
        self.records.iter().any(later) || LogEnd { segment, length: start } < self.known_end
    }

    /// The model as it was before a record.
    fn before(&self, record: Option<&Record>) -> &Model {
        let seq = record.map_or(SeqNo::MAX, |record| record.seq_before);
        self.models.range(..=seq).next_back().unwrap().1
    }

    /// Opens an image whose log breaks off at a place in a segment; `record` is the first one that is lost.
    fn check(&self, image: &Image, segment: WalId, broken: u64, record: Option<&Record>) -> Result<bool, String> {
        let path = path::wal(segment);
        let bytes = zeros_from(image.file(&path).unwrap());
        let disk = image.clone().into_disk();
        let opened = Database::open(Arc::new(disk.clone()), options(Scale::Small));
        if broken < SEGMENT_HEADER_BYTES || self.is_shown(segment, broken) {
            return match opened {
                Ok(_) => Err("acknowledged batches were dropped".to_owned()),
                // What is wrong with a record that is there is said, not only that the log went on behind it.
                Err(Error::Corrupt { damage: Damage::LogEndsEarly { .. }, .. }) if bytes > broken => {
                    Err("the damage itself is not named".to_owned())
                }
                Err(Error::Corrupt { path: named, offset: Some(at), .. }) if named == path => {
                    let expected = if broken < SEGMENT_HEADER_BYTES { 0 } else { broken };
                    if at == expected { Ok(false) } else { Err(format!("byte {at} is named, not {expected}")) }
                }
                Err(error) => Err(format!("another error: {error}")),
            };
        }
        let db = opened.map_err(|error| format!("a torn tail is refused: {error}"))?;
        check_model(&db, self.before(record))?;
        let behind = |other: &&Record| record.is_some_and(|lost| other.segment == segment && other.start > lost.start);
        let records = self.records.iter().filter(behind).count() as u64;
        match &db.open_report().torn {
            // Records behind a cut are gone; behind a flipped bit they are still there.
            Some(torn) if (torn.path.as_str(), torn.offset, torn.bytes) == (&path, broken, bytes - broken) => {
                let whole = if bytes > record.map_or(0, |lost| lost.end) { records } else { 0 };
                if torn.records != whole {
                    return Err(format!("{} records are reported, not {whole}", torn.records));
                }
            }
            None if broken >= bytes => {}
            other => return Err(format!("the report says {other:?}")),
        }
        drop(db);
        let again = Database::open(Arc::new(disk), options(Scale::Small)).map_err(|error| error.to_string())?;
        check_model(&again, self.before(record))?;
        again.open_report().torn.as_ref().map_or(Ok(true), |torn| Err(format!("cut, but there again: {torn}")))
    }

    /// Where a segment's last record ends.
    fn end(&self, segment: WalId) -> u64 {
        let ends = self.records.iter().filter(|record| record.segment == segment).map(|record| record.end);
        ends.max().unwrap_or(SEGMENT_HEADER_BYTES)
    }

    fn segments(&self) -> Vec<(WalId, Vec<u8>)> {
        let logs = self.image.files().filter(|(path, _)| kind(path) == "log");
        logs.map(|(path, bytes)| (path::parse_wal(path.rsplit('/').next().unwrap()).unwrap(), bytes.to_vec())).collect()
    }
}

/// Scripts that end in different ways, each with the models after each of its batches.
fn endings() -> Vec<(&'static str, Killed)> {
    let mut endings = Vec::new();
    for name in ["a group of batches", "a flush", "a new segment"] {
        let mut script = Script::new(Scale::Small);
        let mut models = BTreeMap::from([(script.db.snapshot().seq(), script.model.clone())]);
        for step in 0..3 {
            script.write(40 + step..42 + step, 40..40 + step, "killed ");
            models.insert(script.db.snapshot().seq(), script.model.clone());
        }
        script.fill_segment(|script| drop(models.insert(script.db.snapshot().seq(), script.model.clone())));
        match name {
            "a group of batches" => {
                let mut group = Vec::new();
                let mut after = Vec::new();
                for key in 60..63 {
                    group.push(script.batch(key..key + 1, 0..0, "group "));
                    after.push(script.model.clone());
                }
                let written = script.db.write_group(&group).unwrap();
                models.extend(written.into_iter().map(|seq| seq.unwrap()).zip(after));
            }
            "a flush" => script.db.flush("pairs").unwrap(),
            _ => {}
        }
        endings.push((name, Killed::new(script, models)));
    }
    endings
}

#[test]
fn a_flipped_bit_in_the_log_of_a_killed_database_is_damage_unless_nothing_shows_that_it_was_durable() {
    for (name, killed) in endings() {
        let (mut refused, mut cut) = (0, 0);
        for (segment, bytes) in killed.segments() {
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let image = killed.image.with_file(&path::wal(segment), flipped);
                let at = bit as u64 / 8;
                let in_it = |record: &&Record| record.segment == segment && (record.start..record.end).contains(&at);
                let record = killed.records.iter().find(in_it);
                let end = if at < SEGMENT_HEADER_BYTES { 0 } else { killed.end(segment) };
                let broken = record.map_or(end, |record| record.start);
                let checked = killed.check(&image, segment, broken, record);
                let was_cut = checked.unwrap_or_else(|violation| panic!("{name}, {segment}, bit {bit}: {violation}"));
                *(if was_cut { &mut cut } else { &mut refused }) += 1;
            }
        }
        println!("{name}: {refused} flips refused, {cut} cut off and reported");
        assert!(refused > cut && cut > 0, "{name}");
        let groups = if name == "a group of batches" { 3 } else { 1 };
        let last = killed.records.last().unwrap();
        assert_eq!(
            killed
                .records
                .iter()
                .filter(|other| other.segment == last.segment && other.group_start == last.group_start)
                .count(),
            groups,
            "{name}"
        );
    }
}

#[test]
fn the_log_of_a_killed_database_that_is_cut_at_any_byte_loses_only_what_the_cut_took() {
    for (name, killed) in endings() {
        for (segment, bytes) in killed.segments() {
            for length in 0..bytes.len() as u64 {
                let image =
                    killed.image.with_file(&path::wal(segment), bytes[..usize::try_from(length).unwrap()].to_vec());
                let whole = |record: &&Record| record.segment == segment && record.end > length;
                let record = killed.records.iter().find(whole);
                let start = record.map_or(killed.end(segment), |record| record.start).min(length);
                let broken = if length < SEGMENT_HEADER_BYTES { 0 } else { start };
                // Records behind the cut show nothing any more.
                let left = |record: &&Record| record.segment != segment || record.end <= length;
                let records = killed.records.iter().filter(left).copied().collect();
                let killed = Killed {
                    image: killed.image.clone(),
                    models: killed.models.clone(),
                    records,
                    known_end: killed.known_end,
                };
                if let Err(violation) = killed.check(&image, segment, broken, record) {
                    panic!("{name}, {segment}, {length} bytes left: {violation}");
                }
            }
        }
    }
}

/// Zeros behind the last record are no damage; they are in the place of a record that something behind it tells of.
#[test]
fn a_record_of_a_killed_database_that_is_zeros_is_damage_unless_nothing_shows_that_it_was_durable() {
    for (name, killed) in endings() {
        let (mut refused, mut lost) = (0, 0);
        for record in &killed.records {
            let path = path::wal(record.segment);
            let mut bytes = killed.image.file(&path).unwrap().to_vec();
            let [start, end] = [record.start, record.end].map(|at| usize::try_from(at).unwrap());
            bytes[start..end].fill(0);
            let checked =
                killed.check(&killed.image.with_file(&path, bytes), record.segment, record.start, Some(record));
            let was_lost = checked.unwrap_or_else(|violation| panic!("{name}, {record:?}: {violation}"));
            *(if was_lost { &mut lost } else { &mut refused }) += 1;
        }
        assert!(refused > 0 && lost > 0, "{name}: {refused} refused, {lost} not");
    }
}

/// Behind a right checksum: such a number would leave none for the next write.
#[test]
fn a_record_with_the_last_sequence_number_there_can_be_is_damage() {
    let (_, killed) = endings().swap_remove(2);
    let (segment, mut bytes) = killed.segments().pop().unwrap();
    bytes.truncate(usize::try_from(killed.end(segment)).unwrap());
    for (kind, body) in [(RecordKind::Write, &[][..]), (RecordKind::Manifest, &[0; 24])] {
        let mut group = Vec::new();
        frame(&mut group, segment, bytes.len() as u64, kind, SeqNo::MAX, body);
        let image = killed.image.with_file(&path::wal(segment), [bytes.clone(), group].concat());
        let opened = Database::open(Arc::new(image.into_disk()), options(Scale::Small));
        let error = opened.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { damage: Damage::Field { field: "seq", .. }, .. }), "{error}");
    }
}
