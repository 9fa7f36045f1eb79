//! `lifecycle`: descriptions and configuration changes.

use podium_wire::rest::{Description, Hook};
use serde_json::{Map, Value};

use crate::bindings::exports::podium::agent::lifecycle as wit;

/// What an agent says of itself cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDescription {
    /// A text that should be JSON.
    #[error("`{field}` of the description is not JSON: {source}")]
    Json {
        field: &'static str,
        #[source]
        source: serde_json::Error,
    },
    /// The default configuration.
    #[error("`config-default` of the description is not an object")]
    NotAnObject,
    /// The schema version.
    #[error("`state-schema-version` of the description is 0; it counts from 1")]
    SchemaVersion,
}

/// Reads a guest's description.
pub(crate) fn description(said: wit::Description) -> Result<Description, InvalidDescription> {
    let hook = |flag, hook| said.hooks.contains(flag).then_some(hook);
    if said.state_schema_version == 0 {
        return Err(InvalidDescription::SchemaVersion);
    }
    Ok(Description {
        hooks: [
            hook(wit::Hooks::ON_INIT, Hook::OnInit),
            hook(wit::Hooks::ON_MESSAGE, Hook::OnMessage),
            hook(wit::Hooks::ON_STEER, Hook::OnSteer),
            hook(wit::Hooks::ON_CONFIG_CHANGE, Hook::OnConfigChange),
            hook(wit::Hooks::ON_IDLE, Hook::OnIdle),
            hook(wit::Hooks::ON_SHUTDOWN, Hook::OnShutdown),
            hook(wit::Hooks::MIGRATE, Hook::Migrate),
        ]
        .into_iter()
        .flatten()
        .collect(),
        state_schema_version: said.state_schema_version,
        config_schema: said.config_schema.map(|text| json("config-schema", &text)).transpose()?,
        config_default: said.config_default.map(|text| object("config-default", &text)).transpose()?,
    })
}

fn json(field: &'static str, text: &str) -> Result<Value, InvalidDescription> {
    serde_json::from_str(text).map_err(|source| InvalidDescription::Json { field, source })
}

fn object(field: &'static str, text: &str) -> Result<Map<String, Value>, InvalidDescription> {
    match json(field, text)? {
        Value::Object(map) => Ok(map),
        _ => Err(InvalidDescription::NotAnObject),
    }
}

/// A changed place of the configuration, as the guest sees it.
pub(crate) fn config_change(change: crate::runtime::ConfigChange) -> wit::ConfigChange {
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    wit::ConfigChange { pointer: change.pointer, old: text(change.old), new: text(change.new) }
}

/// Why an agent is shut down, as the guest sees it.
pub(crate) fn shutdown_reason(reason: crate::runtime::ShutdownReason) -> wit::ShutdownReason {
    use crate::runtime::ShutdownReason;
    match reason {
        ShutdownReason::IdleTimeout => wit::ShutdownReason::IdleTimeout,
        ShutdownReason::Deleted => wit::ShutdownReason::Deleted,
        ShutdownReason::Pressure => wit::ShutdownReason::Pressure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> wit::Description {
        wit::Description {
            hooks: wit::Hooks::ON_MESSAGE | wit::Hooks::MIGRATE,
            state_schema_version: 2,
            config_schema: Some("{\"type\":\"object\"}".to_owned()),
            config_default: None,
        }
    }

    #[test]
    fn hooks_and_json_are_read() {
        let read = description(said()).expect("is good");
        assert_eq!(read.hooks, [Hook::OnMessage, Hook::Migrate]);
        assert_eq!(read.config_schema, Some(serde_json::json!({"type": "object"})));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |change: fn(&mut wit::Description), expected: &str| {
            let mut said = said();
            change(&mut said);
            let error = description(said).expect_err("is bad").to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        check(|said| said.config_schema = Some("{".to_owned()), "`config-schema` of the description is not JSON");
        check(
            |said| said.config_default = Some("[]".to_owned()),
            "`config-default` of the description is not an object",
        );
        check(|said| said.state_schema_version = 0, "`state-schema-version`");
    }
}
