//! The checks can fail: of the mistakes that the engine can be told to make, each is noticed by the check named here.
//!
//! Each check runs as a child process of its own, in which the environment turns one fault on, and has to fail. Steps
//! that are left out at the disk (a file or a folder that is not synced) are in `protocol`.

use std::process::Command;

use rustling_engine::seeded::SeededFault;

const CRASH: &str = "crash::campaign::what_was_acknowledged_survives_a_power_cut_at_every_call";
const FAULTS: &str = "faults::once::a_call_that_fails_once_is_told_loses_nothing_and_the_same_handle_goes_on";
const MODEL: &str = "model::random_operations_give_what_the_model_gives";
const COMPACTION: &str = "compaction::runs_that_take_too_much_memory_together_are_compacted_neighbours_first";
const FOLDED: &str = "compaction::the_files_of_many_commits_become_one_and_say_the_same";
const MEANWHILE: &str = "compaction::what_comes_at_any_call_of_a_compaction_supersedes_rows_of_its_result";
const DELETED: &str = "delete_where::what_is_written_while_a_delete_looks_for_rows_counts";
const ENDS: &str = "delete_where::a_delete_ends_though_rows_come_whenever_it_looks";
const VECTORS: &str = "damage::repair::deletion_vectors_that_are_whole_but_wrong_are_noticed_and_found_again";
const INSERTS: &str =
    "threads::closing::an_insert_is_checked_against_the_groups_before_its_own_and_the_batches_before_it";
const BITS: &str = "damage::bits::every_bit_of_a_closed_database_is_watched_over";
const KILLED: &str =
    "damage::killed::a_flipped_bit_in_the_log_of_a_killed_database_is_damage_unless_nothing_shows_that_it_was_durable";
const OLDER_MANIFEST: &str = "damage::lost::an_older_manifest_is_not_taken_for_the_newest_one_that_the_log_knows_of";
const CUT_FILES: &str = "damage::files::a_file_that_is_cut_at_any_byte_is_named";

/// The check that notices a fault.
fn check_for(fault: SeededFault) -> &'static str {
    match fault {
        SeededFault::AckBeforeSync
        | SeededFault::TornTailNotCut
        | SeededFault::OrphansNotSwept
        | SeededFault::FlushClaimsTooMuch
        | SeededFault::SegmentsSweptBeforePublish
        | SeededFault::FloorIgnoresOtherTables
        | SeededFault::RunsSweptBeforePublish
        | SeededFault::ReplayOfFlushed
        | SeededFault::LoadWithoutRotation
        | SeededFault::LoadSharesItsSequence => CRASH,
        SeededFault::AckWithoutAppend
        | SeededFault::SyncFailureForgiven
        | SeededFault::HalfGroupNotTakenBack
        | SeededFault::ManifestNotReadBack
        | SeededFault::RunsRemovedInDoubt => FAULTS,
        SeededFault::FlushWithoutDeletes
        | SeededFault::MergePrefersOlder
        | SeededFault::KeySignKept
        | SeededFault::SnapshotSeesLater
        | SeededFault::FlushNotResolved
        | SeededFault::LoadNotResolved
        | SeededFault::MemoryNotResolved
        | SeededFault::DeletesKillNothing
        | SeededFault::DeletionFileReplaces
        | SeededFault::SupersededOfOtherRun
        | SeededFault::CompactionKeepsDead
        | SeededFault::DeleteLeavesNoKeys
        | SeededFault::LookupSkipsDeleted
        | SeededFault::KeptRowOfOtherRun
        | SeededFault::RangePrefersOlder
        | SeededFault::RangeEndsEarly => MODEL,
        SeededFault::DeleteWithoutRotation => ENDS,
        SeededFault::DeleteForgetsMeanwhile => DELETED,
        SeededFault::FoldForgetsOlder => FOLDED,
        SeededFault::CatchUpSkipped => MEANWHILE,
        SeededFault::VectorsNotCompared => VECTORS,
        SeededFault::CompactionForgetsDeletes => COMPACTION,
        SeededFault::InsertNotCheckedAgain => INSERTS,
        SeededFault::EveryDamageIsATornTail => KILLED,
        SeededFault::RecordChecksumIgnored | SeededFault::BlockChecksumIgnored => BITS,
        SeededFault::ManifestNotAnnounced => OLDER_MANIFEST,
        SeededFault::CloseWithoutLogEnd => CUT_FILES,
    }
}

#[test]
fn every_mistake_is_noticed_by_the_check_that_is_for_it() {
    let mut missed = Vec::new();
    for fault in SeededFault::ALL {
        let check = check_for(fault);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", check])
            .env("SEEDED_FAULT", format!("{fault:?}"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
        let ran = text.contains("running 1 test");
        let reason = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1).unwrap_or_default();
        println!("{fault:?}: {check}: {reason:.240}");
        if child.status.success() || !ran || !text.contains(&format!("test {check} ... FAILED")) {
            missed.push((fault, check));
        }
    }
    assert_eq!(missed, Vec::new(), "not noticed");
}
