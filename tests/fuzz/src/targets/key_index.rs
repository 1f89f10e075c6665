//! The key index: any bytes, and any content behind checksums that match.
//!
//! In: a byte of choices (1: seal the file; 2: keys of any length), then the file.
//! Promise: a question is answered or the file is refused as damage; keys that are read ascend; a key that is read is
//! found at its row, by search and by merge.

use std::sync::OnceLock;

use rustling_engine::disk::memory::MemoryDisk;
use rustling_engine::disk::path::{self, RunFile};
use rustling_engine::error::Result;
use rustling_engine::id::{Digest, RunId, TableId};
use rustling_engine::rows::keys::Keys;
use rustling_engine::sst::key_index::block::Rank;
use rustling_engine::sst::key_index::footer::Footer;
use rustling_engine::sst::key_index::reader::KeyIndex;
use rustling_engine::sst::key_index::writer::KeyIndexWriter;
use rustling_engine::sst::meta::{DeletesMeta, FileMeta, KeyRange, SstMeta};

use crate::input::Input;
use crate::seal::{self, number};
use crate::targets::wal::{get, put};
use crate::targets::{Seeds, unless_corrupt};

const SEAL: u8 = 1;

/// Keys that are read at once, as merges do.
const ROWS_AT_ONCE: u64 = 4096;

/// Asks a key index everything.
pub fn body(data: &[u8]) {
    let mut input = Input(data);
    let choices = input.byte();
    let mut bytes = input.0.to_vec();
    let checksum = if choices & SEAL != 0 {
        seal::key_index(&mut bytes, None)
    } else {
        let tail = bytes.len().saturating_sub(16);
        u32::try_from(number(&bytes, tail) & u64::from(u32::MAX)).unwrap_or(0)
    };
    let Some(footer) = unless_corrupt(Footer::parse("keys", &bytes, checksum), "footer") else { return };
    let meta = meta_of(&footer, bytes.len() as u64, checksum);
    let disk = MemoryDisk::new();
    put(&disk, "tables/keys", &bytes);
    let index = KeyIndex::open(&disk, "tables/keys".to_owned(), &meta);
    let Some(index) = unless_corrupt(index, "open") else { return };
    unless_corrupt(index.sst_checksums(), "checksums");
    unless_corrupt(index.deletes_checksums(), "checksums");
    for probe in probes(footer.key_width).iter() {
        unless_corrupt(index.rank(probe), "rank");
        unless_corrupt(index.find(probe), "find");
        unless_corrupt(index.lower_bound(&probe[..probe.len() / 2]), "lower bound");
    }
    let sorted = index.find_sorted(probes(footer.key_width), |probe, row| {
        assert!(probe < probes(footer.key_width).len() && row < footer.keys);
    });
    unless_corrupt(sorted, "merge");
    for block in 0..index.blocks().min(64) {
        unless_corrupt(index.fence(block), "fence");
    }
    read_back(&index);
}

/// Reads all keys and finds them again.
fn read_back(index: &KeyIndex) {
    let mut row = 0;
    let mut last: Option<Vec<u8>> = None;
    while row < index.len() {
        let end = index.len().min(row + ROWS_AT_ONCE);
        let Some(keys) = unless_corrupt(index.read(row..end), "read") else { return };
        assert_eq!((keys.len() as u64, keys.first_disorder()), (end - row, None));
        let ordered = last.as_deref() < keys.first();
        last = keys.last().map(<[u8]>::to_vec);
        if row == 0 && end == index.len() && ordered {
            let middle = keys.len() / 2;
            if let Some(rank) = unless_corrupt(index.rank(keys.get(middle)), "rank") {
                assert_eq!(rank, Rank::Found(middle as u64), "a key that was read is not where it was");
            }
        }
        row = end;
    }
}

/// What a manifest would say of an index with this footer.
fn meta_of(footer: &Footer, bytes: u64, footer_checksum: u32) -> SstMeta {
    let key_range = KeyRange { min: Vec::new(), max: vec![0xff; 64] };
    SstMeta {
        run: footer.run,
        rows: footer.keys,
        key_range: (footer.keys > 0).then(|| key_range.clone()),
        deletes: footer.deletes.map(|file| DeletesMeta { count: 1, file, key_range }),
        sst: footer.sst,
        keys: FileMeta { bytes, digest: Digest(0) },
        footer_checksum,
    }
}

/// Keys that the corpus has, keys between them, and keys of other lengths.
fn probes(width: Option<u32>) -> &'static Keys {
    static PROBES: OnceLock<[Keys; 2]> = OnceLock::new();
    let [fixed, variable] = PROBES.get_or_init(|| {
        let mut probes = [Keys::new(Some(8)), Keys::new(None)];
        for number in [0, 1, 7, 255, 256, 600, 1 << 40] {
            probes[0].push(&fixed_key(number));
        }
        for key in ["", "key 1", "key 10", "key 10\0", "key 299", "key 3", "z"] {
            probes[1].push(key.as_bytes());
        }
        probes
    });
    if width == Some(8) { fixed } else { variable }
}

fn fixed_key(number: u64) -> [u8; 8] {
    (number ^ 1 << 63).to_be_bytes()
}

/// Indexes of keys in all three layouts of blocks, with more than one block.
pub fn seeds() -> Result<Seeds> {
    let mut packed = Keys::new(Some(8));
    (0..300_u64).for_each(|number| packed.push(&fixed_key(number * 2)));
    let mut fixed = Keys::new(Some(12));
    for number in 0..40_u32 {
        fixed.push(&[&number.to_be_bytes()[3..], &[(number * 37 % 251).to_le_bytes()[0]; 11][..]].concat());
    }
    let mut names: Vec<String> = (0..300).map(|number| format!("key {number}")).collect();
    names.sort();
    let mut variable = Keys::new(None);
    names.iter().for_each(|name| variable.push(name.as_bytes()));
    let mut seeds = Vec::new();
    for (name, sealed, keys) in [
        ("packed", "packed-sealed", &packed),
        ("fixed", "fixed-sealed", &fixed),
        ("variable", "variable-sealed", &variable),
        ("empty", "empty-sealed", &Keys::new(None)),
    ] {
        let bytes = index_of(keys)?;
        seeds.push((name, [&[0], &*bytes].concat()));
        seeds.push((sealed, [&[SEAL], &*bytes].concat()));
    }
    Ok(seeds)
}

fn index_of(keys: &Keys) -> Result<Vec<u8>> {
    let disk = MemoryDisk::new();
    let path = path::run(TableId(1), RunId(1), RunFile::Keys);
    put(&disk, "tables/0000000001/x", b"");
    let mut writer = KeyIndexWriter::create(&disk, &path)?;
    writer.append(keys)?;
    let sst = hashed(b"the rows");
    let deletes = hashed(b"the deletes");
    writer.finish(RunId(1), &sst, Some(&deletes))?;
    Ok(get(&disk, &path))
}

fn hashed(bytes: &[u8]) -> rustling_engine::sst::checksum::HashedFile {
    let checksums = seal::block_checksums(bytes);
    rustling_engine::sst::checksum::HashedFile { bytes: bytes.len() as u64, digest: Digest::of(bytes), checksums }
}
