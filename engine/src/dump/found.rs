//! What a dump gives, piece by piece.

use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// One piece of a dump.
#[derive(Debug)]
pub enum Found {
    /// A line of text.
    Line(String),
    /// Something that is not as it should be, with its place.
    Damage(Error),
}

/// Takes the pieces of a dump; `Break` ends it.
pub type Take<'a> = dyn FnMut(Found) -> ControlFlow<()> + 'a;

/// Gives a line.
pub(super) fn line(take: &mut Take<'_>, text: String) -> ControlFlow<()> {
    take(Found::Line(text))
}

/// The value, or `None` once its error was given.
pub(super) fn given<T>(take: &mut Take<'_>, result: Result<T>) -> ControlFlow<(), Option<T>> {
    match result {
        Ok(value) => ControlFlow::Continue(Some(value)),
        Err(error) => {
            take(Found::Damage(error))?;
            ControlFlow::Continue(None)
        }
    }
}
