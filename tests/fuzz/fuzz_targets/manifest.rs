//! `agent.toml`, the manifest section, and components.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| podium_properties::manifest(bytes));
