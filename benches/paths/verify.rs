//! What it costs that every block of a run is compared with its checksum when it is first touched.
//!
//! All bytes of one SST, read a megabyte at a time as a scan does: straight from the disk, through the checks when all
//! blocks were touched before (what a warm scan pays), and when none were (what the first scan pays).

use criterion::{BatchSize, Criterion, Throughput};
use rustling_db::engine::disk::api::Disk;
use rustling_db::engine::disk::local::LocalDisk;
use rustling_db::engine::disk::path::{self, RunFile};
use rustling_db::engine::load::run::LoadOptions;
use rustling_db::engine::sst::checksum::BLOCK_BYTES;
use rustling_db::engine::sst::verified_file::VerifiedFile;

use crate::data;

const ROWS: i64 = 1_000_000;
const READ_BYTES: u64 = 1 << 20;

pub(crate) fn verify(criterion: &mut Criterion) {
    let (folder, db) = data::database(false);
    let mut source = data::Batches(vec![data::rows(0, ROWS, false, 5)].into_iter());
    db.load(data::TABLE, &mut source, &LoadOptions::default()).expect("a load");
    let table = db.snapshot().table(data::TABLE).expect("the table");
    let run = &table.table().version.runs()[0];
    let name = path::run(table.table().id, run.id(), RunFile::Sst);
    let disk = LocalDisk::open(&folder.path().join("db")).expect("a folder");
    let file = disk.open(&name).expect("the SST");
    let length = file.len();
    let mut bytes = vec![0; usize::try_from(length).expect("a file that fits")];
    file.read_at(0, &mut bytes).expect("its bytes");
    let checksums: Vec<u32> = bytes.chunks(usize::try_from(BLOCK_BYTES).expect("64 KiB")).map(crc32c::crc32c).collect();
    let open = || VerifiedFile::open(&disk, name.clone(), length, checksums.clone().into()).expect("the SST");
    let read =
        |file: &VerifiedFile| ranges(length).map(|range| file.read(range).expect("sound bytes").len()).sum::<usize>();

    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Bytes(length));
    group.bench_function("unchecked", |bencher| {
        bencher.iter(|| {
            for range in ranges(length) {
                let mut buffer = vec![0; usize::try_from(range.end - range.start).expect("a megabyte")];
                file.read_at(range.start, &mut buffer).expect("bytes");
                std::hint::black_box(&buffer);
            }
        });
    });
    let warm = open();
    read(&warm);
    group.bench_function("touched before", |bencher| bencher.iter(|| read(&warm)));
    group.bench_function("first touch", |bencher| {
        bencher.iter_batched(open, |file| read(&file), BatchSize::PerIteration)
    });
    group.finish();
}

fn ranges(length: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..length.div_ceil(READ_BYTES)).map(move |index| index * READ_BYTES..((index + 1) * READ_BYTES).min(length))
}
