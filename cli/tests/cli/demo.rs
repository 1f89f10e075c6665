//! `demo`, on little data.

use crate::fixture::Folder;

#[test]
fn the_demo_holds_its_checks_and_tells_its_story_on_standard_error() {
    let folder = Folder::new();
    let ran = folder.run(&["demo", "--scale", "0.001", "--keep", "kept"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    // Three questions, twice, each as a table.
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("+-")).count(), 2 * 3 * 3, "{ran}");
    assert!(ran.stdout.lines().all(|line| line.starts_with(['+', '|'])), "{ran}");
    for part in [
        "• generated TPC-H at scale 0.001 as CSV: ",
        "• loaded `lineitem` with the key l_orderkey, l_linenumber: 6,005 rows, ",
        "• doubled the prices of 2,000 rows in one atomic write: ",
        "• deleted 500 rows: ",
        "• Q6 after the changes: ",
        "• exported `lineitem` to Parquet: 5,505 rows, ",
        "• read the file back: 5,505 rows, the sums are equal: ",
        "done in ",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran}");
    }
    assert_eq!(folder.list("kept").len(), 8 + 2, "{:?}", folder.list("kept"));
    let count = ["sql", "SELECT count(*) AS n FROM lineitem", "--db", "kept/db", "--format", "csv"];
    assert_eq!(folder.ok(&count), "n\n5505\n");
    let again = folder.run(&["demo", "--scale", "0.001", "--keep", "kept"]);
    assert_eq!(again.code, Some(2), "{again}");
}

#[test]
fn the_demo_leaves_nothing_behind_unless_it_is_asked_to() {
    let folder = Folder::new();
    let ran = folder.command(&["demo", "--scale", "0.0001"]).env("TMPDIR", folder.path(".")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(folder.list("."), Vec::<String>::new());
}
