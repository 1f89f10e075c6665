//! The project as a whole.

mod tidy;
