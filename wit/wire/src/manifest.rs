//! The manifest: agent.toml beside the source, the custom section `podium:manifest` in a component.
//!
//! One shape for both; the section holds it as JSON. Unknown keys are refused, so that a misspelt
//! limit is not silently the default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentType, AgentVersion};
use crate::limits::LimitsRequest;

/// Name of the custom section that carries the manifest.
pub const SECTION: &str = "podium:manifest";

/// Most bytes of a manifest: it is read whole at deploy.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;

/// Attempts after a host crash before a message is parked, unless the manifest says otherwise.
pub const RETRY_DEFAULT: u32 = 3;

/// Most attempts a manifest may ask for.
pub const RETRY_MAX: u32 = 10;

/// How the agent runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// A WebAssembly component.
    #[default]
    Wasm,
    /// An external process.
    Process,
}

/// What an author says of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The agent type.
    #[serde(rename = "type")]
    pub agent_type: AgentType,
    /// The version.
    pub version: AgentVersion,
    /// How it runs.
    #[serde(default)]
    pub lane: Lane,
    /// The command of the process lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Keep the guest between turns, as a cache only.
    #[serde(default)]
    pub keep_warm: bool,
    /// Attempts after a host crash, 0 to 10; 3 when absent.
    #[serde(default = "retry_default")]
    pub retry: u32,
    /// Limits other than the defaults.
    #[serde(default)]
    pub limits: LimitsRequest,
    /// The imports the author asks for; all that are imported when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Vec<String>>,
    /// The configuration where the owner sets nothing, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
}

fn retry_default() -> u32 {
    RETRY_DEFAULT
}

/// A manifest that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// Not JSON of the manifest's shape.
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Larger than [`MANIFEST_BYTES_MAX`].
    #[error("the manifest has {0} bytes; at most {MANIFEST_BYTES_MAX} are read")]
    TooLarge(usize),
    /// More attempts than [`RETRY_MAX`].
    #[error("`retry` is {0}; at most {RETRY_MAX} attempts are made")]
    Retry(u32),
}

impl Manifest {
    /// The least a manifest says.
    pub fn new(agent_type: AgentType, version: AgentVersion) -> Self {
        Self {
            agent_type,
            version,
            lane: Lane::Wasm,
            command: None,
            keep_warm: false,
            retry: RETRY_DEFAULT,
            limits: LimitsRequest::default(),
            grants: None,
            config: None,
        }
    }

    /// Reads the custom section.
    pub fn from_section(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        if bytes.len() > MANIFEST_BYTES_MAX {
            return Err(InvalidManifest::TooLarge(bytes.len()));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()
    }

    /// Checks what serde cannot.
    pub fn check(self) -> Result<Self, InvalidManifest> {
        if self.retry > RETRY_MAX { Err(InvalidManifest::Retry(self.retry)) } else { Ok(self) }
    }
}
