//! Names and ids: agent types, versions, deployments and instances, each parsed once at the edge.
//!
//! A value of one of these types is valid by construction. Must never normalise silently: what a
//! caller wrote is what is kept, or it is refused.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A name or id that does not have its form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not {expected}")]
pub struct InvalidId {
    /// What was given, cut to 80 characters.
    pub value: String,
    /// The form that was expected.
    pub expected: &'static str,
}

impl InvalidId {
    fn new(value: &str, expected: &'static str) -> Self {
        Self { value: value.chars().take(80).collect(), expected }
    }
}

/// The JSON of an id is its text, and its schema the text's form. The parser decides; `pattern` helps who writes a client.
macro_rules! text_serde {
    ($name:ident, $about:literal, $pattern:literal) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about, "pattern": $pattern })
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// An agent type: `[a-z][a-z0-9-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentType(String);

impl AgentType {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentType {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidId::new(text, "an agent type: [a-z][a-z0-9-]{0,62}")) }
    }
}

impl fmt::Display for AgentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_serde!(AgentType, "An agent type.", "^[a-z][a-z0-9-]{0,62}$");

/// A version: SemVer without `+`, at most 64 bytes. Ordered as SemVer orders.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentVersion(semver::Version);

impl AgentVersion {
    /// True for `1.2.3-rc.1` and the like.
    pub fn is_pre_release(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

impl FromStr for AgentVersion {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let refuse = || InvalidId::new(text, "a version: SemVer without build metadata, such as 1.2.3 or 1.2.3-rc.1");
        if text.len() > 64 || text.contains('+') {
            return Err(refuse());
        }
        semver::Version::parse(text).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
text_serde!(AgentVersion, "A version: SemVer without build metadata.", "^[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?$");

/// The SHA-256 of the uploaded bytes, 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps the 32 bytes of a SHA-256.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hexadecimal digits: what a deployment id shows.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let refuse = || InvalidId::new(text, "a SHA-256: 64 lower-case hexadecimal digits");
        if text.len() != 64 || !is_lower_hex(text) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| refuse())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
text_serde!(Digest, "A SHA-256 in hexadecimal digits.", "^[0-9a-f]{64}$");

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

const DEPLOYMENT_FORM: &str = "a deployment: TYPE:VERSION@HEX with the first 8 digits of the SHA-256";

/// One immutable deployment: `{type}:{version}@{first 8 hex of SHA-256}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId {
    /// The agent type.
    pub agent_type: AgentType,
    /// The version.
    pub version: AgentVersion,
    /// The first 8 hexadecimal digits of the digest.
    pub short_digest: String,
}

impl DeploymentId {
    /// The id of these bytes under this name.
    pub fn new(agent_type: AgentType, version: AgentVersion, digest: &Digest) -> Self {
        Self { agent_type, version, short_digest: digest.short() }
    }
}

impl FromStr for DeploymentId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.parse()? {
            DeploymentRef { agent_type, version: Some(version), short_digest: Some(short_digest) } => {
                Ok(Self { agent_type, version, short_digest })
            }
            _ => Err(InvalidId::new(text, DEPLOYMENT_FORM)),
        }
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}@{}", self.agent_type, self.version, self.short_digest)
    }
}
text_serde!(
    DeploymentId,
    "A deployment: TYPE:VERSION@HEX.",
    "^[a-z][a-z0-9-]{0,62}:[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?@[0-9a-f]{8}$"
);

/// How a person names a deployment: `TYPE[:VERSION[@HEX]]`. A bare type means its highest
/// release, else its highest pre-release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRef {
    /// The agent type.
    pub agent_type: AgentType,
    /// The version, when given.
    pub version: Option<AgentVersion>,
    /// The first 8 digits of the digest, when given.
    pub short_digest: Option<String>,
}

impl FromStr for DeploymentRef {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let Some((agent_type, rest)) = text.split_once(':') else {
            return Ok(Self { agent_type: text.parse()?, version: None, short_digest: None });
        };
        let (version, short_digest) = match rest.split_once('@') {
            Some((version, hex)) if hex.len() == 8 && is_lower_hex(hex) => (version, Some(hex.to_owned())),
            Some(_) => return Err(InvalidId::new(text, DEPLOYMENT_FORM)),
            None => (rest, None),
        };
        Ok(Self { agent_type: agent_type.parse()?, version: Some(version.parse()?), short_digest })
    }
}

impl fmt::Display for DeploymentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.agent_type)?;
        if let Some(version) = &self.version {
            write!(f, ":{version}")?;
        }
        if let Some(hex) = &self.short_digest {
            write!(f, "@{hex}")?;
        }
        Ok(())
    }
}
text_serde!(
    DeploymentRef,
    "A deployment as people name it: TYPE[:VERSION[@HEX]].",
    "^[a-z][a-z0-9-]{0,62}(:[0-9]+\\.[0-9]+\\.[0-9]+(-[0-9A-Za-z.-]+)?(@[0-9a-f]{8})?)?$"
);

impl From<DeploymentId> for DeploymentRef {
    fn from(id: DeploymentId) -> Self {
        Self { agent_type: id.agent_type, version: Some(id.version), short_digest: Some(id.short_digest) }
    }
}

/// One agent with its data: a UUIDv7, written with hyphens in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(Uuid);

impl InstanceId {
    /// Wraps a UUIDv7 that `kit` made.
    pub fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID.
    pub fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        // The hyphenated lower-case form only: an id is also a folder's name.
        match Uuid::try_parse(text) {
            Ok(uuid) if uuid.hyphenated().to_string() == text => Ok(Self(uuid)),
            _ => Err(InvalidId::new(text, "an instance id: a UUID with hyphens, in lower case")),
        }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
text_serde!(
    InstanceId,
    "An instance: a UUIDv7.",
    "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
);

/// Most bytes of a message id: it is a key in the inbox and in clients' logs.
pub const MESSAGE_ID_BYTES_MAX: usize = 128;

/// Checks a client's message id: 1 to 128 bytes of printable ASCII without space.
pub fn check_message_id(id: &str) -> Result<(), InvalidId> {
    if (1..=MESSAGE_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(InvalidId::new(id, "a message id: 1 to 128 printable ASCII characters without space"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = InvalidId> + fmt::Display>(valid: &[&str], invalid: &[&str]) {
        for text in valid {
            assert_eq!(text.parse::<T>().map(|id| id.to_string()).as_deref(), Ok(*text));
        }
        for text in invalid {
            assert!(text.parse::<T>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn agent_types() {
        let longest = format!("a{}", "b".repeat(62));
        let too_long = format!("a{}", "b".repeat(63));
        check::<AgentType>(
            &["a", "code-helper", "x9", &longest],
            &["", "A", "9a", "-a", "a_b", "a/b", "ä", "..", &too_long],
        );
    }

    #[test]
    fn versions() {
        check::<AgentVersion>(&["1.2.3", "0.1.0-dev.4"], &["1.2", "v1.2.3", "1.2.3+x", "", "1.2.3/..", "01.2.3"]);
        let order: Vec<AgentVersion> =
            ["1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.10.0"].iter().map(|v| v.parse().expect("valid")).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn deployments() {
        check::<DeploymentId>(
            &["hello:1.0.0@2b795103"],
            &["hello", "hello:1.0.0", "hello:1.0.0@2B795103", "hello:1.0.0@2b79510", "hello@2b795103"],
        );
        check::<DeploymentRef>(
            &["hello", "hello:1.0.0", "hello:1.0.0@2b795103"],
            &["hello:", "hello@2b795103", ":1.0.0"],
        );
    }

    #[test]
    fn instances() {
        check::<InstanceId>(
            &["0198c0de-0000-7000-8000-000000000001"],
            &["0198C0DE-0000-7000-8000-000000000001", "0198c0de000070008000000000000001", "..", ""],
        );
    }

    #[test]
    fn digests() {
        let hex = "2b795103".repeat(8);
        check::<Digest>(&[&hex], &["2b", &"zz".repeat(32), &"AB".repeat(32)]);
        assert_eq!(hex.parse::<Digest>().expect("valid").short(), "2b795103");
    }
}
