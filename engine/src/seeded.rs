//! Mistakes that the engine can be told to make, so that tests can show that they would notice.
//!
//! In: the feature `seeded-faults`, which only this package's own tests turn on, and the environment variable
//! `SEEDED_FAULT`, which names one fault for the whole process. Out: whether a step is left out or done wrong.
//! Invariants: without the feature [`makes`] is constantly `false` and the compiler removes every one of these faults.

/// A step of the protocol, left out or done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededFault {
    /// A commit is acknowledged before its record is synced.
    AckBeforeSync,
    /// A commit whose record could not be appended is acknowledged and visible.
    AckWithoutAppend,
    /// A failed sync of the log is taken for a failure like any other: nothing is poisoned.
    SyncFailureForgiven,
    /// A half-written group stays where it is, and the log goes on behind where it thinks that it ends.
    HalfGroupNotTakenBack,
    /// Any damaged record is taken for a torn tail.
    EveryDamageIsATornTail,
    /// The checksum of a log record is not compared.
    RecordChecksumIgnored,
    /// A torn tail is not cut off before the log goes on.
    TornTailNotCut,
    /// Checksums of blocks are not compared.
    BlockChecksumIgnored,
    /// Changes that are in runs already are replayed on top of them.
    ReplayOfFlushed,
    /// Files of runs that were never published stay.
    OrphansNotSwept,
    /// A flush claims one change more than it wrote.
    FlushClaimsTooMuch,
    /// A flush does not write the keys that it deletes from older runs.
    FlushWithoutDeletes,
    /// Log segments are removed before the manifest that makes them superfluous is committed.
    SegmentsSweptBeforePublish,
    /// The log is given up as if every table were flushed.
    FloorIgnoresOtherTables,
    /// A manifest is not announced in the log.
    ManifestNotAnnounced,
    /// A manifest that could not be linked is not looked at again.
    ManifestNotReadBack,
    /// The runs that a compaction replaces are removed before it is published.
    RunsSweptBeforePublish,
    /// A compaction forgets deleted keys while it merges.
    CompactionForgetsDeletes,
    /// Runs whose publishing ended in doubt are removed.
    RunsRemovedInDoubt,
    /// Closing does not record where the log ends.
    CloseWithoutLogEnd,
    /// A load does not flush what is in memory first.
    LoadWithoutRotation,
    /// A load does not use up its sequence number.
    LoadSharesItsSequence,
    /// The merge prefers the older of two changes.
    MergePrefersOlder,
    /// Signed integers in keys keep their sign bit, so negative ones sort behind positive ones.
    KeySignKept,
    /// Readers see changes of memtables that are newer than their snapshot.
    SnapshotSeesLater,
    /// An insert is not checked against what came since it was prepared.
    InsertNotCheckedAgain,
    /// A flush leaves the rows that its keys supersede alive.
    FlushNotResolved,
    /// A load leaves the rows that its keys supersede alive.
    LoadNotResolved,
    /// A scan does not look up the keys in memory.
    MemoryNotResolved,
    /// Deleted keys are not looked up in older runs.
    DeletesKillNothing,
    /// A file of dead rows takes the place of those before it.
    DeletionFileReplaces,
    /// When files of dead rows become one, only the newest rows go into it.
    FoldForgetsOlder,
    /// A compaction does not look up what was flushed while it ran.
    CatchUpSkipped,
    /// What a chunk supersedes in one run is taken for what it supersedes in any.
    SupersededOfOtherRun,
    /// A compaction writes dead rows, too.
    CompactionKeepsDead,
    /// A compaction does not compare deletion vectors with keys.
    VectorsNotCompared,
    /// A predicate delete does not flush what is in memory when it takes its place.
    DeleteWithoutRotation,
    /// A predicate delete kills rows that died while it looked for them.
    DeleteForgetsMeanwhile,
    /// A predicate delete does not write the keys of the rows that it kills.
    DeleteLeavesNoKeys,
    /// A lookup does not ask runs for the keys that they delete.
    LookupSkipsDeleted,
    /// A row that is kept of one run is taken for the row of any other.
    KeptRowOfOtherRun,
    /// Of the changes of a key in a range, the oldest counts.
    RangePrefersOlder,
    /// A range ends with its first step.
    RangeEndsEarly,
}

impl SeededFault {
    /// All of them.
    pub const ALL: [Self; 43] = [
        Self::AckBeforeSync,
        Self::AckWithoutAppend,
        Self::SyncFailureForgiven,
        Self::HalfGroupNotTakenBack,
        Self::EveryDamageIsATornTail,
        Self::RecordChecksumIgnored,
        Self::TornTailNotCut,
        Self::BlockChecksumIgnored,
        Self::ReplayOfFlushed,
        Self::OrphansNotSwept,
        Self::FlushClaimsTooMuch,
        Self::FlushWithoutDeletes,
        Self::SegmentsSweptBeforePublish,
        Self::FloorIgnoresOtherTables,
        Self::ManifestNotAnnounced,
        Self::ManifestNotReadBack,
        Self::RunsSweptBeforePublish,
        Self::CompactionForgetsDeletes,
        Self::RunsRemovedInDoubt,
        Self::CloseWithoutLogEnd,
        Self::LoadWithoutRotation,
        Self::LoadSharesItsSequence,
        Self::MergePrefersOlder,
        Self::KeySignKept,
        Self::SnapshotSeesLater,
        Self::InsertNotCheckedAgain,
        Self::FlushNotResolved,
        Self::LoadNotResolved,
        Self::MemoryNotResolved,
        Self::DeletesKillNothing,
        Self::DeletionFileReplaces,
        Self::FoldForgetsOlder,
        Self::CatchUpSkipped,
        Self::SupersededOfOtherRun,
        Self::CompactionKeepsDead,
        Self::VectorsNotCompared,
        Self::DeleteWithoutRotation,
        Self::DeleteForgetsMeanwhile,
        Self::DeleteLeavesNoKeys,
        Self::LookupSkipsDeleted,
        Self::KeptRowOfOtherRun,
        Self::RangePrefersOlder,
        Self::RangeEndsEarly,
    ];
}

/// Whether the engine shall make this mistake now.
#[cfg(feature = "seeded-faults")]
pub fn makes(fault: SeededFault) -> bool {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("SEEDED_FAULT").ok());
    CHOSEN.as_ref().is_some_and(|chosen| *chosen == format!("{fault:?}"))
}

/// Whether the engine shall make this mistake now: never, in a build without the feature.
#[cfg(not(feature = "seeded-faults"))]
pub const fn makes(_: SeededFault) -> bool {
    false
}
