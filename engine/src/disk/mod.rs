//! Files: the seam, what implements it, and where each file lies.

pub mod api;
pub mod path;
