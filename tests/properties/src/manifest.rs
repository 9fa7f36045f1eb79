//! `agent.toml`, the manifest in a component, and components that are none.

use std::path::Path;

use podium_capabilities::limits::{
    CPU_CAP, INBOX_CAP, Limits, MEMORY_BYTES_CAP, OPEN_HANDLES_CAP, OUTPUT_BYTES_CAP, STATE_BYTES_CAP, UPDATES_CAP,
    WAIT_CAP, WALL_CAP,
};
use podium_registry::{RegistryError, inspect};
use podium_wire::manifest::{MANIFEST_BYTES_MAX, Manifest, RETRY_MAX, SECTION};

use crate::refused;

/// The reader of `agent.toml` is the binary's, which no crate can use: its very source.
#[path = "../../../host/cli/src/build/manifest.rs"]
#[allow(dead_code, reason = "files are read by the command only, and by its tests")]
mod agent_toml;

/// A magic number tells a component, a brace the JSON of a section; the rest is TOML.
pub fn manifest(bytes: &[u8]) {
    match bytes.first() {
        Some(0) => component(bytes),
        Some(b'{') => section(bytes),
        _ => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                toml(text);
            }
        }
    }
}

/// What is taken is within the bounds, and is the same when it is written and read again.
fn taken(manifest: &Manifest) {
    assert!(manifest.retry <= RETRY_MAX);
    if let Ok(limits) = Limits::resolve(&manifest.limits) {
        assert!((1..=MEMORY_BYTES_CAP).contains(&limits.memory_bytes));
        assert!((1..=OUTPUT_BYTES_CAP).contains(&limits.output_bytes));
        assert!((1..=UPDATES_CAP).contains(&limits.updates));
        assert!((1..=STATE_BYTES_CAP).contains(&limits.state_bytes));
        assert!((1..=OPEN_HANDLES_CAP).contains(&limits.open_handles));
        assert!((1..=INBOX_CAP).contains(&limits.inbox));
        assert!(limits.wall <= WALL_CAP && limits.cpu <= CPU_CAP && limits.wait <= WAIT_CAP);
        assert!(!limits.wall.is_zero() && !limits.cpu.is_zero() && !limits.wait.is_zero());
    }
    let written = serde_json::to_vec(manifest).expect("a manifest can be written");
    if written.len() <= MANIFEST_BYTES_MAX {
        let again = Manifest::from_section(&written).expect("what was written is taken");
        assert_eq!(&again, manifest);
    }
}

fn section(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::from_section(bytes) {
        taken(&manifest);
    }
}

fn toml(text: &str) {
    let Ok(manifest) = agent_toml::parse(text, Path::new("agent.toml")) else { return };
    // What is built can be deployed.
    taken(&manifest);
    // And says what the author wrote.
    let table: toml::Table = toml::from_str(text).expect("it was read before");
    let written = table.get("config").and_then(toml::Value::as_table);
    match (&manifest.config, written) {
        (Some(config), Some(written)) => {
            let config = serde_json::Value::Object(config.clone());
            assert!(same(&config, &toml::Value::Table(written.clone())), "{written} became {config}");
        }
        (config, written) => assert_eq!(config.is_some(), written.is_some()),
    }
}

/// True when a document has what the author wrote.
fn same(json: &serde_json::Value, toml: &toml::Value) -> bool {
    match (json, toml) {
        (serde_json::Value::Object(json), toml::Value::Table(toml)) => {
            json.len() == toml.len()
                && toml.iter().all(|(name, value)| json.get(name).is_some_and(|found| same(found, value)))
        }
        (serde_json::Value::Array(json), toml::Value::Array(toml)) => {
            json.len() == toml.len() && json.iter().zip(toml).all(|(json, toml)| same(json, toml))
        }
        (serde_json::Value::String(json), toml::Value::String(toml)) => json == toml,
        (serde_json::Value::Bool(json), toml::Value::Boolean(toml)) => json == toml,
        (serde_json::Value::Number(json), toml::Value::Integer(toml)) => json.as_i64() == Some(*toml),
        (serde_json::Value::Number(json), toml::Value::Float(toml)) => json.as_f64() == Some(*toml),
        _ => false,
    }
}

fn component(bytes: &[u8]) {
    match inspect(bytes) {
        Ok(inspected) => {
            let found = inspected.manifest;
            if let Some(manifest) = &found {
                taken(manifest);
            }
            // A section of another name behind it changes nothing; one more manifest is refused, a first one is found.
            let other = [bytes, &custom_section("other", b"x")].concat();
            assert_eq!(inspect(&other).expect("still valid").manifest, found);
            let more = [bytes, &custom_section(SECTION, br#"{"type":"more","version":"9.9.9"}"#)].concat();
            match (inspect(&more), found) {
                (Err(RegistryError::ManyManifests), Some(_)) => {}
                (Ok(inspected), None) => {
                    assert_eq!(
                        inspected.manifest.map(|manifest| manifest.version.to_string()).as_deref(),
                        Some("9.9.9")
                    );
                }
                (other, found) => panic!("{other:?} after {found:?}"),
            }
        }
        Err(error) => {
            refused(&error.to_wire());
            // A client's fault, never the host's.
            assert!((400..500).contains(&error.code().status()), "{error}");
        }
    }
}

/// Section 0 with a short name and content.
fn custom_section(name: &str, data: &[u8]) -> Vec<u8> {
    let byte = |number: usize| u8::try_from(number).expect("less than 128");
    let mut section = vec![0, byte(1 + name.len() + data.len()), byte(name.len())];
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(data);
    section
}
