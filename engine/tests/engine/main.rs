//! The engine as a whole: against a model, against crashes, against broken protocols.

mod crash;
mod fixture;
mod model;
mod protocol;
mod typed;
