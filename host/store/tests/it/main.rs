//! Tests of the store through its public face, on real files.

mod common;
mod cuts;
mod files;
mod journal;
mod lifecycle;
mod properties;
mod recovery;
mod speed;
mod steers;
