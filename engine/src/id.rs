//! Identifiers and orders: newtypes with only the operations that make sense.
//!
//! Invariants: an id that a manifest has named is never given again; names never become paths, ids do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Ids, sequence numbers, counts and lengths on disk are below this, so that nobody who goes on from them, or adds a few
/// of them, counts too far.
pub const NUMBER_LIMIT: u64 = 1 << 62;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $width:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $width);

        impl $name {
            /// The id after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A table of the database.
    TableId, u64, "table "
);
id!(
    /// A state of a table's schema.
    SchemaId, u32, "schema "
);
id!(
    /// A column, for the life of its table; also its Parquet field id.
    ColumnId, i32, "column "
);
id!(
    /// A run: one SST with its companions.
    RunId, u64, "run "
);
id!(
    /// A segment of the WAL.
    WalId, u64, "wal "
);
id!(
    /// A manifest: one committed state of the database.
    ManifestId, u64, "manifest "
);

/// Place of a write batch in the commit order; [`SeqNo::NONE`] is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// Before the first write batch.
    pub const NONE: Self = Self(0);
    /// Behind every write batch.
    pub const MAX: Self = Self(u64::MAX);

    /// The place after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seq {}", self.0)
    }
}

/// Digest of a whole file: XXH3-128 of its bytes. It finds damage, it does not resist forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.len() != 32 {
            return Err(serde::de::Error::invalid_length(text.len(), &"32 hexadecimal digits"));
        }
        u128::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
