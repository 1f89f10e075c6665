//! How the values of a column lie in memory, whatever they mean: what the codecs of keys and rows branch on.
//!
//! In: Arrow types and arrays. Out: [`Physical`] forms, values as native numbers or byte strings, and arrays built
//! from them with their exact type.
//! Invariants: bytes of numbers are little-endian whatever the machine; arrays are built with Arrow's checks on, so
//! text that is no UTF-8 is refused.

use std::convert::identity;
use std::sync::Arc;

use arrow::array::types::{ByteArrayType, ByteViewType};
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryViewBuilder, GenericByteArray,
    GenericByteViewArray, LargeBinaryArray, LargeStringArray, PrimitiveArray, StringArray, downcast_primitive,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType, i256};
use arrow::error::ArrowError;

/// A 16-bit float as its bits: Rust has no such number, and nothing is reckoned with it here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half(u16);

impl Half {
    /// The float with these bits.
    pub(crate) fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Its bits.
    pub(crate) fn to_bits(self) -> u16 {
        self.0
    }
}

/// Longest byte string that a view holds in itself.
const INLINE_BYTES_MAX: usize = 12;

/// How the values of a column lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Physical {
    /// Bits.
    Boolean,
    /// Numbers.
    Native(Native),
    /// Byte strings of one width.
    FixedSizeBinary(usize),
    /// Byte strings of any length.
    Bytes(BytesForm),
    /// Columns in a column.
    Nested,
}

/// Numbers that stand for values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Native {
    I8,
    I16,
    I32,
    I64,
    I128,
    I256,
    U8,
    U16,
    U32,
    U64,
    F16,
    F32,
    F64,
}

/// Arrow's layouts of byte strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BytesForm {
    Utf8,
    LargeUtf8,
    Utf8View,
    Binary,
    LargeBinary,
    BinaryView,
}

impl Physical {
    /// The form of a type; `None` for types that no table stores.
    pub(crate) fn of(data_type: &DataType) -> Option<Self> {
        let bytes = |form| Some(Self::Bytes(form));
        match data_type {
            DataType::Boolean => Some(Self::Boolean),
            DataType::FixedSizeBinary(width) => usize::try_from(*width).ok().map(Self::FixedSizeBinary),
            DataType::Utf8 => bytes(BytesForm::Utf8),
            DataType::LargeUtf8 => bytes(BytesForm::LargeUtf8),
            DataType::Utf8View => bytes(BytesForm::Utf8View),
            DataType::Binary => bytes(BytesForm::Binary),
            DataType::LargeBinary => bytes(BytesForm::LargeBinary),
            DataType::BinaryView => bytes(BytesForm::BinaryView),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Some(Self::Nested),
            other => Native::of(other).map(Self::Native),
        }
    }
}

impl Native {
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int8 => Some(Self::I8),
            DataType::Int16 => Some(Self::I16),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) | DataType::Decimal32(..) => Some(Self::I32),
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Decimal64(..) => Some(Self::I64),
            DataType::Decimal128(..) => Some(Self::I128),
            DataType::Decimal256(..) => Some(Self::I256),
            DataType::UInt8 => Some(Self::U8),
            DataType::UInt16 => Some(Self::U16),
            DataType::UInt32 => Some(Self::U32),
            DataType::UInt64 => Some(Self::U64),
            DataType::Float16 => Some(Self::F16),
            DataType::Float32 => Some(Self::F32),
            DataType::Float64 => Some(Self::F64),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub(crate) fn width(self) -> usize {
        with_native!(self, T => size_of::<T>())
    }
}

/// Runs an expression with a name for the Rust type of a [`Native`].
macro_rules! with_native {
    ($native:expr, $name:ident => $body:expr) => {
        match $native {
            $crate::rows::physical::Native::I8 => with_native!(@ i8, $name => $body),
            $crate::rows::physical::Native::I16 => with_native!(@ i16, $name => $body),
            $crate::rows::physical::Native::I32 => with_native!(@ i32, $name => $body),
            $crate::rows::physical::Native::I64 => with_native!(@ i64, $name => $body),
            $crate::rows::physical::Native::I128 => with_native!(@ i128, $name => $body),
            $crate::rows::physical::Native::I256 => with_native!(@ arrow::datatypes::i256, $name => $body),
            $crate::rows::physical::Native::U8 => with_native!(@ u8, $name => $body),
            $crate::rows::physical::Native::U16 => with_native!(@ u16, $name => $body),
            $crate::rows::physical::Native::U32 => with_native!(@ u32, $name => $body),
            $crate::rows::physical::Native::U64 => with_native!(@ u64, $name => $body),
            $crate::rows::physical::Native::F16 => with_native!(@ $crate::rows::physical::Half, $name => $body),
            $crate::rows::physical::Native::F32 => with_native!(@ f32, $name => $body),
            $crate::rows::physical::Native::F64 => with_native!(@ f64, $name => $body),
        }
    };
    (@ $type:ty, $name:ident => $body:expr) => {{
        type $name = $type;
        $body
    }};
}
pub(crate) use with_native;

/// A number of fixed width with a byte form.
pub(crate) trait Fixed: Copy {
    /// What an array holds for it.
    type Raw: ArrowNativeType;
    /// An array of its bytes.
    type Bytes: AsRef<[u8]>;

    /// The number that an array holds.
    fn from_raw(raw: Self::Raw) -> Self;

    /// What an array holds for it.
    fn raw(self) -> Self::Raw;

    /// Its bytes, lowest first.
    fn to_little(self) -> Self::Bytes;

    /// The number with these bytes, lowest first; `None` if they are too many or too few.
    fn from_little(bytes: &[u8]) -> Option<Self>;
}

macro_rules! fixed {
    ($($number:ty, $raw:ty, $from_raw:expr, $to_raw:expr);*) => { $(
        impl Fixed for $number {
            type Raw = $raw;
            type Bytes = [u8; size_of::<$raw>()];

            fn from_raw(raw: $raw) -> Self {
                $from_raw(raw)
            }

            fn raw(self) -> $raw {
                $to_raw(self)
            }

            fn to_little(self) -> Self::Bytes {
                self.raw().to_le_bytes()
            }

            fn from_little(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(<$raw>::from_le_bytes).map(Self::from_raw)
            }
        }
    )* };
    ($($number:ty),*) => { fixed!($($number, $number, identity, identity);*); };
}
fixed!(i8, i16, i32, i64, i128, i256, u8, u16, u32, u64, f32, f64);
fixed!(Half, u16, Half::from_bits, Half::to_bits);

/// The numbers of an array whose form is that of `T`; what NULLs have there means nothing.
pub(crate) fn native_values<T: Fixed>(array: &dyn Array) -> ScalarBuffer<T::Raw> {
    let data = array.to_data();
    ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
}

/// An array of numbers of a type whose form is that of `T`.
///
/// # Errors
/// Arrow's, if the type and `T` do not fit.
pub(crate) fn native_array<T: Fixed>(
    data_type: &DataType,
    values: Vec<T::Raw>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    let count = values.len();
    macro_rules! typed {
        ($arrow:ty) => {{
            type Number = <$arrow as ArrowPrimitiveType>::Native;
            if size_of::<Number>() == size_of::<T::Raw>() {
                let values = ScalarBuffer::<Number>::new(Buffer::from_vec(values), 0, count);
                let array = PrimitiveArray::<$arrow>::try_new(values, nulls)?;
                return Ok(Arc::new(array.with_data_type(data_type.clone())));
            }
        }};
    }
    downcast_primitive! { data_type => (typed), _ => {} }
    Err(ArrowError::InvalidArgumentError(format!(
        "{data_type} is not made of numbers of {} bytes",
        size_of::<T::Raw>()
    )))
}

/// Shows each row's byte string; those of NULLs mean nothing.
pub(crate) fn for_each_bytes(array: &dyn Array, form: BytesForm, visit: impl FnMut(usize, &[u8])) {
    match form {
        BytesForm::Utf8 => for_each_value(array.as_string::<i32>(), visit),
        BytesForm::LargeUtf8 => for_each_value(array.as_string::<i64>(), visit),
        BytesForm::Utf8View => for_each_view(array.as_string_view(), visit),
        BytesForm::Binary => for_each_value(array.as_binary::<i32>(), visit),
        BytesForm::LargeBinary => for_each_value(array.as_binary::<i64>(), visit),
        BytesForm::BinaryView => for_each_view(array.as_binary_view(), visit),
    }
}

fn for_each_value<T: ByteArrayType>(array: &GenericByteArray<T>, mut visit: impl FnMut(usize, &[u8])) {
    for row in 0..array.len() {
        visit(row, array.value(row).as_ref());
    }
}

fn for_each_view<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, mut visit: impl FnMut(usize, &[u8])) {
    for row in 0..array.len() {
        visit(row, array.value(row).as_ref());
    }
}

/// Byte strings on their way into an array.
#[derive(Debug)]
pub(crate) struct ByteStrings {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl ByteStrings {
    /// None yet; room for `count` of them.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { bytes: Vec::new(), ends: Vec::with_capacity(count) }
    }

    /// Adds to the string that is being made.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Ends the string that is being made.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// The array of the strings.
    ///
    /// # Errors
    /// Arrow's, if text is no UTF-8 or the form's offsets are too small.
    pub(crate) fn finish(self, form: BytesForm, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(match form {
            BytesForm::Utf8 => Arc::new(StringArray::try_new(self.offsets()?, self.bytes.into(), nulls)?),
            BytesForm::LargeUtf8 => Arc::new(LargeStringArray::try_new(self.offsets()?, self.bytes.into(), nulls)?),
            BytesForm::Binary => Arc::new(BinaryArray::try_new(self.offsets()?, self.bytes.into(), nulls)?),
            BytesForm::LargeBinary => Arc::new(LargeBinaryArray::try_new(self.offsets()?, self.bytes.into(), nulls)?),
            BytesForm::Utf8View => Arc::new(self.views(nulls.as_ref())?.finish().to_string_view()?),
            BytesForm::BinaryView => Arc::new(self.views(nulls.as_ref())?.finish()),
        })
    }

    fn offsets<O: arrow::array::OffsetSizeTrait>(&self) -> Result<OffsetBuffer<O>, ArrowError> {
        let total = self.bytes.len();
        if total > O::MAX_OFFSET {
            return Err(ArrowError::OffsetOverflowError(total));
        }
        let offsets = std::iter::once(0).chain(self.ends.iter().copied()).map(O::usize_as).collect::<Vec<_>>();
        Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
    }

    /// The strings as views into one block of just their size.
    fn views(&self, nulls: Option<&NullBuffer>) -> Result<BinaryViewBuilder, ArrowError> {
        let starts = || std::iter::once(0).chain(self.ends.iter().copied());
        let lengths = starts().zip(&self.ends).map(|(start, end)| end - start);
        let outside: usize = lengths.filter(|length| *length > INLINE_BYTES_MAX).sum();
        let block = u32::try_from(outside.clamp(1, i32::MAX as usize)).unwrap_or(u32::MAX);
        let mut views = BinaryViewBuilder::with_capacity(self.ends.len()).with_fixed_block_size(block);
        for (row, (start, end)) in starts().zip(&self.ends).enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                views.append_null();
            } else {
                views.try_append_value(&self.bytes[start..*end])?;
            }
        }
        Ok(views)
    }
}
