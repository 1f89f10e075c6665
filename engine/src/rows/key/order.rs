//! Numbers as bytes that compare like the numbers.
//!
//! In: numbers. Out: big-endian bytes, and numbers back.
//! Invariants: `a < b` exactly if `a.to_ordered() < b.to_ordered()` as bytes; of floats all NaNs are one value, the
//! greatest, and the two zeros are one value; only bytes that a number is written as are read. Bytes: FORMAT.md, "Keys".

use arrow::datatypes::i256;

use crate::rows::physical::{Fixed, Half};
use crate::seeded::{SeededFault, makes};

/// A number whose order its bytes can keep.
pub(crate) trait Ordered: Fixed {
    /// Its bytes in an order-preserving form.
    fn to_ordered(self) -> Self::Bytes;

    /// The number that is written as these bytes, if there is one.
    fn from_ordered(bytes: &[u8]) -> Option<Self>;
}

/// A float with one form per value.
pub(crate) trait Float: Fixed {
    /// The one form of its value: every NaN is the positive quiet one without payload, -0.0 is 0.0.
    fn canonical(self) -> Self;

    /// Whether it has that form.
    fn is_canonical(self) -> bool;
}

/// The bit by which signed integers are moved, so that negative ones come first.
fn sign_bit() -> u8 {
    if makes(SeededFault::KeySignKept) { 0 } else { 0x80 }
}

macro_rules! ordered_unsigned {
    ($($native:ty),*) => { $(
        impl Ordered for $native {
            fn to_ordered(self) -> Self::Bytes {
                self.to_be_bytes()
            }

            fn from_ordered(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )* };
}
ordered_unsigned!(u8, u16, u32, u64);

macro_rules! ordered_signed {
    ($($native:ty),*) => { $(
        impl Ordered for $native {
            fn to_ordered(self) -> Self::Bytes {
                let mut bytes = self.to_be_bytes();
                bytes[0] ^= sign_bit();
                bytes
            }

            fn from_ordered(bytes: &[u8]) -> Option<Self> {
                let mut bytes: <Self as Fixed>::Bytes = bytes.try_into().ok()?;
                bytes[0] ^= sign_bit();
                Some(Self::from_be_bytes(bytes))
            }
        }
    )* };
}
ordered_signed!(i8, i16, i32, i64, i128, i256);

macro_rules! ordered_float {
    ($($float:ty, $bits:ty, infinity $infinity:literal, nan $nan:literal);*) => { $(
        impl Float for $float {
            fn canonical(self) -> Self {
                match self.to_bits() & (<$bits>::MAX >> 1) {
                    0 => Self::from_bits(0),
                    magnitude if magnitude > $infinity => Self::from_bits($nan),
                    _ => self,
                }
            }

            fn is_canonical(self) -> bool {
                self.to_bits() == self.canonical().to_bits()
            }
        }

        impl Ordered for $float {
            fn to_ordered(self) -> Self::Bytes {
                let sign: $bits = 1 << (<$bits>::BITS - 1);
                let bits = self.canonical().to_bits();
                let flipped = if bits & sign == 0 { bits | sign } else { !bits };
                flipped.to_be_bytes()
            }

            fn from_ordered(bytes: &[u8]) -> Option<Self> {
                let sign: $bits = 1 << (<$bits>::BITS - 1);
                let flipped = <$bits>::from_be_bytes(bytes.try_into().ok()?);
                let bits = if flipped & sign == 0 { !flipped } else { flipped ^ sign };
                Some(Self::from_bits(bits)).filter(|value| value.is_canonical())
            }
        }
    )* };
}
ordered_float!(
    Half, u16, infinity 0x7c00, nan 0x7e00;
    f32, u32, infinity 0x7f80_0000, nan 0x7fc0_0000;
    f64, u64, infinity 0x7ff0_0000_0000_0000, nan 0x7ff8_0000_0000_0000
);
