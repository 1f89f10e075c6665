//! The key encoding: key columns as bytes whose order is the order of the typed keys.
//!
//! In: key columns. Out: [`crate::rows::keys::Keys`], columns again, text. Bytes: FORMAT.md, "Keys".

mod order;

mod codec;

mod encode;

mod decode;

mod text;

pub use codec::{KEY_BYTES_MAX, KeyCodec};
pub(crate) use order::Float;

#[cfg(test)]
mod tests;
