//! Damaged files give typed errors or the very same answers, whatever is wrong with them.

use std::slice::from_ref;
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
use crate::sst::rows::{SstRows, load_metadata};
use crate::sst::tests::{Rows, RunFile, contents, disk, file, lineitem, names, overwrite, sensors};
use crate::sst::verified_file::VerifiedFile;

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

#[test]
fn a_key_index_whose_keys_have_another_length_than_the_table_s_is_refused() {
    for (rows, width) in [(lineitem as fn(usize) -> Rows, Some(8)), (lineitem, None), (names, Some(3))] {
        let (rows, disk, mut meta, _) = small(rows);
        let path = file(RunFile::Keys);
        let mut bytes = contents(&*disk, &path);
        seal(&mut bytes, &mut meta, |footer| footer.key_width = width);
        overwrite(&*disk, &path, &bytes);
        let error = rows.open(&disk, &meta).unwrap_err();
        let named = matches!(
            &error,
            Error::Corrupt { damage: Damage::Disagreement { fact: "the length of every key", .. }, .. }
        );
        assert!(named, "{error}");
    }
}

/// Lets the header of the page in some bytes claim a length; bytes at the end of the page make room.
fn claim(page: &mut [u8], mut claim: u32) {
    // The type of the page (a mark and a byte), a mark, and then the length as a number of seven bits a byte.
    let old = page[3..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    claim <<= 1;
    let mut number: Vec<u8> = (0..4).map(|shift| (claim >> (7 * shift) & 0x7f) as u8 | 0x80).collect();
    number.push((claim >> 28) as u8);
    let rest = page[3 + old..].to_vec();
    page[3..].iter_mut().zip(number.into_iter().chain(rest)).for_each(|(byte, new)| *byte = new);
}

#[test]
fn a_page_that_claims_gigabytes_is_refused_before_they_are_allocated() {
    let (rows, disk, meta, _) = small(sensors);
    let good = contents(&*disk, &file(RunFile::Sst));
    let sst = rows.open(&disk, &meta).unwrap();
    let metadata = sst.parquet_metadata().unwrap();
    let pages = &metadata.offset_index().unwrap()[0];
    for (column, pages) in pages.iter().enumerate() {
        let page = &pages.page_locations()[0];
        let (start, length) = (page.offset as usize, page.compressed_page_size as usize);
        let mut bad = good.clone();
        claim(&mut bad[start..start + length], i32::MAX as u32);
        let path = format!("staging/{column}");
        disk.create(&path).unwrap().append(&bad).unwrap();
        let checksums = bad.chunks(BLOCK_BYTES as usize).map(crc32c::crc32c).collect();
        let file = Arc::new(VerifiedFile::open(&*disk, path, bad.len() as u64, checksums).unwrap());
        let schema = rows.schema.stored();
        let loaded = load_metadata(&file, schema, meta.rows).unwrap();
        let mut read = SstRows::start(&file, &loaded, schema, from_ref(&(0..meta.rows)), &[column], 100).unwrap();
        let refused = read.next().unwrap();
        let named = matches!(
            &refused,
            Err(Error::Corrupt { damage: Damage::Field { field: "uncompressed_page_size", value: 0x7fff_ffff }, .. })
        );
        assert!(named, "column {column}: {refused:?}");
    }
}
