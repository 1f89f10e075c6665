//! The file of deletion vectors that a commit adds.
//!
//! In: dead rows by run; bytes of a file. Out: bytes; dead rows by run.
//! Invariants: the manifest holds length and digest of the file, so it is read and compared as a whole; what it holds
//! of runs that are gone since means nothing. Rows of one run may stand in several files; together they are dead.
//! Bytes: FORMAT.md, "Deletion vectors".

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::deletion::vector::DeletionVector;
use crate::disk::api::{Disk, at};
use crate::disk::path::{self, RunFile};
use crate::error::{Damage, Error, Result};
use crate::id::{Digest, RunId, TableId};
use crate::sst::checksum::{HashingFile, in_memory};
use crate::sst::verified_file::read_whole;

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"RSTLDEL1";
/// Run id and length before a run's bitmap.
const ENTRY_BYTES: usize = 16;

/// Dead rows of some runs.
pub type DeadRows = Vec<(RunId, DeletionVector)>;

/// What the manifest says about a file of deletion vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionFile {
    /// Its id, from the same numbers as those of runs.
    pub id: RunId,
    /// Its length.
    pub bytes: u64,
    /// Digest of all its bytes.
    pub digest: Digest,
}

/// The dead rows of a table in a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeletionsManifest {
    /// The files that they are in.
    pub files: Vec<DeletionFile>,
    /// How many each run has, in the order of the runs.
    pub runs: Vec<DeadCount>,
}

/// How many rows of a run are dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadCount {
    /// The run.
    pub run: RunId,
    /// The number of dead rows.
    pub rows: u64,
    /// Their digest; see [`DeletionVector::digest`].
    pub digest: Digest,
}

impl DeadCount {
    /// What a manifest says of the dead rows of a run.
    pub fn new(run: RunId, dead: &DeletionVector) -> Self {
        Self { run, rows: dead.len(), digest: Digest(u128::from(dead.digest())) }
    }
}

/// Writes a file, durably but for its name's folder, which the caller syncs.
///
/// # Errors
/// A row number is beyond what an SST can have; the disk refuses. Nothing is left then, as far as the disk allows.
pub fn write(disk: &dyn Disk, table: TableId, id: RunId, dead: &DeadRows) -> Result<DeletionFile> {
    let path = path::run(table, id, RunFile::Deletions);
    let staged = path::staging(path.rsplit('/').next().unwrap_or(&path));
    let _ = disk.remove(&staged);
    let written = stage(disk, &staged, dead)
        .and_then(|file| disk.rename(&staged, &path).map_err(at("rename", &staged)).map(|()| file));
    match written {
        Ok((bytes, digest)) => Ok(DeletionFile { id, bytes, digest }),
        Err(error) => {
            // What cannot be removed now is swept when the database opens.
            let _ = disk.remove(&staged);
            Err(error)
        }
    }
}

fn stage(disk: &dyn Disk, staged: &str, dead: &DeadRows) -> Result<(u64, Digest)> {
    let bytes = encode(dead)?;
    let mut file = HashingFile::create(disk, staged)?;
    file.append(&bytes)?;
    let hashed = file.finish()?;
    Ok((hashed.bytes, hashed.digest))
}

/// Reads what a file that the manifest names says of the runs that are still there.
///
/// # Errors
/// It is missing or not what the manifest says; the disk refuses.
pub fn read(disk: &dyn Disk, table: TableId, meta: &DeletionFile, counts: &[DeadCount]) -> Result<DeadRows> {
    let path = path::run(table, meta.id, RunFile::Deletions);
    let bytes = read_whole(disk, &path, meta.bytes, meta.digest)?;
    decode(&bytes, counts).map_err(|damage| Error::corrupt(path, damage))
}

/// The dead rows of a table's runs, from all its files. Cost: the files are read.
///
/// # Errors
/// As [`read`]; the files do not hold what the manifest says of a run.
pub fn read_all(disk: &dyn Disk, table: TableId, manifest: &DeletionsManifest) -> Result<Vec<DeletionVector>> {
    let mut dead: Vec<DeletionVector> = manifest.runs.iter().map(|_| DeletionVector::default()).collect();
    for file in &manifest.files {
        for (run, rows) in read(disk, table, file, &manifest.runs)? {
            if let Some(index) = manifest.runs.iter().position(|count| count.run == run) {
                dead[index].extend(&rows);
            }
        }
    }
    for (count, dead) in manifest.runs.iter().zip(&dead) {
        let path = || path::run(table, count.run, RunFile::Deletions);
        if dead.len() != count.rows {
            let (expected, found) = (count.rows, dead.len());
            let damage = Damage::Disagreement { fact: "the number of dead rows of the run", expected, found };
            return Err(Error::corrupt(path(), damage));
        }
        let found = DeadCount::new(count.run, dead).digest;
        if found != count.digest {
            return Err(Error::corrupt(path(), Damage::Digest { expected: count.digest, found }));
        }
    }
    Ok(dead)
}

/// The bytes of a file.
///
/// # Errors
/// A row number is beyond what an SST can have.
pub fn encode(dead: &DeadRows) -> Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    for (run, vector) in dead {
        let rows = vector.rows().map(u32::try_from).collect::<Result<RoaringBitmap, _>>();
        let rows = rows.map_err(|_| Error::corrupt("memory", Damage::Field { field: "row", value: u64::MAX }))?;
        bytes.extend_from_slice(&run.0.to_le_bytes());
        bytes.extend_from_slice(&(rows.serialized_size() as u64).to_le_bytes());
        rows.serialize_into(&mut bytes).map_err(at("write", "memory"))?;
    }
    Ok(bytes)
}

/// Decodes what the bytes of a file say of some runs, of which no more rows are dead than counted. Runs that are gone
/// since are in files still.
///
/// # Errors
/// They are none, or say that more rows are dead: a few bytes can name all rows that there are numbers for.
pub fn decode(bytes: &[u8], counts: &[DeadCount]) -> Result<DeadRows, Damage> {
    let Some((magic, mut rest)) = bytes.split_first_chunk::<8>() else {
        return Err(Damage::Truncated { field: "magic", needed: 8, available: bytes.len() as u64 });
    };
    if *magic != MAGIC {
        return Err(Damage::Magic { expected: MAGIC, found: *magic });
    }
    let mut dead = DeadRows::new();
    while !rest.is_empty() {
        let (run, length, behind) = entry(rest)?;
        let Some((bitmap, behind)) = behind.split_at_checked(in_memory(length)) else {
            let available = behind.len() as u64;
            return Err(Damage::Truncated { field: "bitmap", needed: length, available });
        };
        let mut reader = bitmap;
        let rows = RoaringBitmap::deserialize_from(&mut reader);
        let rows = rows.map_err(|_| Damage::Field { field: "bitmap", value: run.0 })?;
        if !reader.is_empty() {
            return Err(Damage::Field { field: "bitmap", value: run.0 });
        }
        rest = behind;
        let Some(count) = counts.iter().find(|count| count.run == run) else { continue };
        if rows.len() > count.rows {
            let (expected, found) = (count.rows, rows.len());
            return Err(Damage::Disagreement { fact: "the number of dead rows of a run", expected, found });
        }
        dead.push((run, DeletionVector::from(&rows)));
    }
    Ok(dead)
}

/// The fields before a bitmap, and what is behind them.
fn entry(bytes: &[u8]) -> Result<(RunId, u64, &[u8]), Damage> {
    let truncated = Damage::Truncated { field: "run", needed: ENTRY_BYTES as u64, available: bytes.len() as u64 };
    let Some((run, rest)) = bytes.split_first_chunk::<8>() else { return Err(truncated) };
    let Some((length, rest)) = rest.split_first_chunk::<8>() else { return Err(truncated) };
    Ok((RunId(u64::from_le_bytes(*run)), u64::from_le_bytes(*length), rest))
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn counts(dead: &DeadRows) -> Vec<DeadCount> {
        dead.iter().map(|(run, rows)| DeadCount::new(*run, rows)).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded_and_what_is_cut_is_refused() {
        let mut random = StdRng::seed_from_u64(7);
        let dead: DeadRows = (1..4)
            .map(|run| (RunId(run), (0..500).map(|_| random.random_range(0..300_000)).collect()))
            .chain([(RunId(9), (0..70_000).collect())])
            .collect();
        let bytes = encode(&dead).unwrap();
        let mut counts = counts(&dead);
        assert_eq!(decode(&bytes, &counts).unwrap(), dead);
        assert_eq!(decode(&encode(&DeadRows::new()).unwrap(), &counts).unwrap(), DeadRows::new());
        assert_eq!(decode(&bytes, &counts[1..3]).unwrap(), dead[1..3]);
        let whole: Vec<usize> = {
            let mut ends = vec![MAGIC.len()];
            for end in 1..=dead.len() {
                ends.push(encode(&dead[..end].to_vec()).unwrap().len());
            }
            ends
        };
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end], &counts).is_ok(), whole.contains(&end), "cut at {end}");
        }
        counts[0].rows -= 1;
        let refused = decode(&bytes, &counts).unwrap_err();
        assert!(matches!(refused, Damage::Disagreement { .. }), "{refused}");
    }

    #[test]
    fn changed_bytes_are_refused_or_other_rows_but_never_a_panic() {
        let dead: DeadRows = vec![(RunId(1), [3, 9, 70_000].into_iter().collect()), (RunId(2), (0..5000).collect())];
        let bytes = encode(&dead).unwrap();
        let mut refused = 0;
        for place in 0..bytes.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[place] ^= change;
                refused += usize::from(decode(&changed, &counts(&dead)).is_err());
            }
        }
        assert!(refused > 100, "{refused} refused");
    }
}
