//! What `podium top` shows: samples of a host, the figures between two of them, and how they look.
//!
//! Everything but `screen` is pure. Must never ask the host for more than one page of instances a frame.

mod figures;
mod frame;
mod screen;

pub(crate) use figures::Figures;
pub(crate) use frame::{Frame, Sample, Window, milliseconds};
pub(crate) use screen::Screen;
