//! Patches of the state.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podium_properties::patches(bytes));
