//! Damaged files give typed errors or the very same answers, whatever is wrong with them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::api::Disk;
use crate::error::{Damage, Error, ErrorKind, Result};
use crate::id::RunId;
use crate::rows::keys::Keys;
use crate::sst::checksum::BLOCK_BYTES;
use crate::sst::key_index::block::Rank;
use crate::sst::key_index::footer::Footer;
use crate::sst::meta::SstMeta;
use crate::sst::tests::{Rows, RunFile, contents, disk, file, lineitem, names, overwrite, sensors};

/// All keys, the probes' ranks, and the probes found with their rows.
type KeyAnswers = (Keys, Vec<Rank>, Vec<(usize, u64)>);

/// Everything that can be asked of a small run.
#[derive(Debug, PartialEq)]
struct Answers {
    keys: Keys,
    ranks: Vec<Rank>,
    found: Vec<(usize, u64)>,
    rows: Vec<RecordBatch>,
    deleted: Option<Vec<RecordBatch>>,
}

fn ask_keys(rows: &Rows, disk: &Arc<dyn Disk>, meta: &SstMeta, probes: &Keys) -> Result<KeyAnswers> {
    let sst = rows.open(disk, meta)?;
    let index = sst.key_index();
    let mut found = Vec::new();
    index.find_sorted(probes, |probe, row| found.push((probe, row)))?;
    for probe in probes.iter() {
        index.find(probe)?;
        index.lower_bound(&probe[..probe.len() / 2])?;
    }
    let ranks = probes.iter().map(|probe| index.rank(probe)).collect::<Result<_>>()?;
    Ok((index.read(0..index.len())?, ranks, found))
}

fn ask(rows: &Rows, disk: &Arc<dyn Disk>, meta: &SstMeta, probes: &Keys) -> Result<Answers> {
    let (keys, ranks, found) = ask_keys(rows, disk, meta, probes)?;
    let sst = rows.open(disk, meta)?;
    let all: Vec<usize> = (0..rows.batch.num_columns()).collect();
    let rows = sst.rows(0..meta.rows, &all, 100)?.collect::<Result<_>>()?;
    let deleted = sst.deleted(100)?.map(|rows| rows.collect::<Result<_>>()).transpose()?;
    Ok(Answers { keys, ranks, found, rows, deleted })
}

/// A small run with deletes, and probes that are and are not in it.
fn small(rows: fn(usize) -> Rows) -> (Rows, Arc<dyn Disk>, SstMeta, Keys) {
    let rows = rows(300);
    let disk = disk();
    let meta = rows.write(&disk, 100, Some(&rows));
    let mut probes = Keys::new(rows.keys.width());
    for (index, key) in rows.keys.iter().enumerate().step_by(29) {
        let mut probe = key.to_vec();
        if index % 2 == 0 {
            probe[key.len() - 1] ^= 0x40;
        }
        probes.push(&probe);
    }
    let probes = probes.take(&probes.sort_order());
    (rows, disk, meta, probes)
}

fn assert_corrupt<T>(result: Result<T>, what: &str) {
    match result {
        Ok(_) => panic!("{what}: no error"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}"),
    }
}

#[test]
fn every_flipped_bit_of_a_key_index_is_found() {
    for rows in [lineitem, names] {
        let (rows, disk, meta, probes) = small(rows);
        let want = ask_keys(&rows, &disk, &meta, &probes).unwrap();
        let path = file(RunFile::Keys);
        let good = contents(&*disk, &path);
        for place in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[place / 8] ^= 1 << (place % 8);
            overwrite(&*disk, &path, &bad);
            let found = ask_keys(&rows, &disk, &meta, &probes);
            assert_corrupt(found, &format!("bit {place}"));
        }
        overwrite(&*disk, &path, &good);
        assert!(ask_keys(&rows, &disk, &meta, &probes).unwrap() == want);
    }
}

#[test]
fn flipped_bits_of_the_rows_and_the_deletes_are_found() {
    let (rows, disk, meta, probes) = small(sensors);
    let want = ask(&rows, &disk, &meta, &probes).unwrap();
    assert_eq!(want.deleted.as_ref().unwrap()[0].columns(), rows.key_columns().slice(0, 100).columns());
    let mut random = StdRng::seed_from_u64(11);
    for name in [RunFile::Sst, RunFile::Deletes] {
        let path = file(name);
        let good = contents(&*disk, &path);
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1 << random.random_range(0..8);
            overwrite(&*disk, &path, &bad);
            assert_corrupt(ask(&rows, &disk, &meta, &probes), &format!("byte {place}"));
        }
        overwrite(&*disk, &path, &good);
    }
    assert_eq!(ask(&rows, &disk, &meta, &probes).unwrap(), want);
}

#[test]
fn cut_longer_and_missing_files_are_found_at_open() {
    let (rows, disk, meta, _) = small(names);
    for name in [RunFile::Sst, RunFile::Deletes, RunFile::Keys] {
        let path = file(name);
        let good = contents(&*disk, &path);
        let mut bad = vec![[&good[..], b"x"].concat()];
        bad.extend((0..good.len()).step_by(13).map(|length| good[..length].to_vec()));
        for bad in bad {
            overwrite(&*disk, &path, &bad);
            let error = rows.open(&disk, &meta).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { damage: Damage::Length { .. }, .. }), "{error}");
        }
        disk.remove(&path).unwrap();
        let error = rows.open(&disk, &meta).unwrap_err();
        assert!(matches!(&error, Error::Corrupt { damage: Damage::Missing, .. }), "{error}");
        assert!(error.to_string().starts_with(&path), "{error}");
        disk.create(&path).unwrap().append(&good).unwrap();
    }
    rows.open(&disk, &meta).unwrap();
}

#[test]
fn the_key_index_of_another_run_is_refused() {
    let (rows, disk, meta, _) = small(lineitem);
    let refused = |meta: &SstMeta, want: &str| {
        let error = rows.open(&disk, meta).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(want), "{error}");
    };
    let change = |change: fn(&mut SstMeta)| {
        let mut meta = meta.clone();
        change(&mut meta);
        meta
    };
    refused(&change(|meta| meta.footer_checksum ^= 1), "checksum");
    refused(&change(|meta| meta.rows += 1), "the number of keys is 300, expected 301");
    refused(&change(|meta| meta.sst.bytes += 1), "the length of the SST");
    refused(&change(|meta| meta.sst.digest.0 ^= 1), "digest");
    refused(&change(|meta| meta.deletes.as_mut().unwrap().file.digest.0 ^= 1), "digest");
    refused(&change(|meta| meta.deletes = None), "the length of the deleted keys");
    // The index of another run in this run's place, as a wrong restore would leave it.
    let other = SstMeta { run: RunId(10), ..meta.clone() };
    for name in [RunFile::Sst, RunFile::Deletes, RunFile::Keys] {
        let bytes = contents(&*disk, &file(name));
        let name = crate::disk::path::run(crate::sst::tests::TABLE, other.run, name);
        disk.create(&name).unwrap().append(&bytes).unwrap();
    }
    refused(&other, "the run of the key index is 9, expected 10");
}

/// Gives a changed key index checksums that match, so that only its own checks can find what is wrong.
fn seal(bytes: &mut Vec<u8>, meta: &mut SstMeta, change_footer: impl FnOnce(&mut Footer)) {
    let mut footer = Footer::parse("", bytes, meta.footer_checksum).unwrap();
    bytes.truncate(footer.sections().deletes_checksums.end as usize);
    footer.checksums = bytes.chunks(BLOCK_BYTES as usize).map(crc32c::crc32c).collect();
    change_footer(&mut footer);
    let (encoded, checksum) = footer.encode();
    bytes.extend_from_slice(&encoded);
    meta.footer_checksum = checksum;
    meta.keys.bytes = bytes.len() as u64;
    meta.rows = footer.keys;
    meta.sst = footer.sst;
}

#[test]
fn hostile_bytes_behind_matching_checksums_never_panic() {
    let mut random = StdRng::seed_from_u64(5);
    let runs = [small(lineitem), small(names), small(sensors)];
    let mut errors = 0;
    for round in 0..20_000 {
        let (rows, disk, meta, probes) = &runs[round % 3];
        let path = file(RunFile::Keys);
        let good = contents(&**disk, &path);
        let (mut bad, mut bad_meta) = (good.clone(), meta.clone());
        let end = Footer::parse("", &good, meta.footer_checksum).unwrap().sections().deletes_checksums.end as usize;
        for _ in 0..random.random_range(1..4) {
            let place = random.random_range(8..end);
            bad[place] = if random.random() { random.random() } else { bad[place] ^ 1 << random.random_range(0..8) };
        }
        let field = random.random_range(0..40);
        let value = if random.random() {
            random.random_range(0..1_000)
        } else {
            random.random::<u64>() >> random.random_range(0..64)
        };
        seal(&mut bad, &mut bad_meta, |footer| match field {
            0 => footer.keys = value,
            1 => footer.groups_bytes = value,
            2 => footer.fences_bytes = value,
            3 => footer.key_width = u32::try_from(value).ok(),
            4 => footer.sst.bytes = value,
            5 => {
                footer.groups_bytes = footer.groups_bytes.saturating_sub(value);
                footer.fences_bytes = footer.fences_bytes.saturating_add(value);
            }
            6 => footer.checksums.push(0),
            _ => {}
        });
        overwrite(&**disk, &path, &bad);
        match ask_keys(rows, disk, &bad_meta, probes) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "round {round}: {error}");
                errors += 1;
            }
        }
        overwrite(&**disk, &path, &good);
    }
    assert!(errors > 10_000, "only {errors} mutations were found");
}
