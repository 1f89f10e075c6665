//! CSV files become a keyed table in one commit; a second load replaces rows with the same keys.
//!
//! `cargo run --example bulk_load`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use rustling_db::arrow::util::pretty::print_batches;
use rustling_db::{CsvLoad, Db, OnConflict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (monday, tuesday) = (folder.path().join("monday.csv"), folder.path().join("tuesday.csv"));
    std::fs::write(&monday, "sku,name,price\n1,bolt,0.10\n2,nut,0.05\n3,\"washer, flat\",0.02\n")?;
    std::fs::write(&tuesday, "sku,name,price\n2,nut,0.06\n4,screw,0.12\n")?;

    let db = Db::open(folder.path().join("db"))?;
    let load = CsvLoad { key: vec!["sku".to_owned()], ..CsvLoad::default() };
    let report = db.load_csv("parts", &[monday], &load)?;
    println!("loaded {} rows", report.rows_loaded);
    // By default a key that is there already refuses the load: nothing of it is applied.
    let refused = db.load_csv("parts", std::slice::from_ref(&tuesday), &CsvLoad::default());
    println!("{}", refused.err().map(|error| error.to_string()).unwrap_or_default());
    let update = CsvLoad { on_conflict: OnConflict::Update, ..CsvLoad::default() };
    db.load_csv("parts", &[tuesday], &update)?;
    print_batches(&db.sql("SELECT * FROM parts ORDER BY sku")?)?;
    db.close()?;
    Ok(())
}
