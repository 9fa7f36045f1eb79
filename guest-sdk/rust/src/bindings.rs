//! The generated bindings of the WIT world `podium:agent/agent`.
//!
//! Owns nothing but the call of the generator. Must never be edited by hand beyond its options,
//! and never be used by agents directly: the rest of the crate is their interface.
#![expect(missing_docs, reason = "generated; the WIT files carry the documentation")]

wit_bindgen::generate!({
    path: "../../wit/podium",
    world: "agent",
    pub_export_macro: true,
    export_macro_name: "export_agent",
    default_bindings_module: "podium_sdk::bindings",
    additional_derives: [PartialEq],
    // The generated call would run them again where the start code has; see constructors.rs.
    disable_run_ctors_once_workaround: true,
});
