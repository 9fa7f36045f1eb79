//! Bodies, ids and pointers of the HTTP routes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podium_properties::rest(bytes));
