//! The versions of `podium dev`: `{version}-dev.{n}`, and the bytes that are deployed already. Pure but for the file's digest.

use std::path::Path;

use podium_registry::digest_of;
use podium_wire::rest::Deployment;
use podium_wire::{AgentVersion, Digest, ErrorCode};

use crate::exit::{Failure, storage_code};

/// The number of a version of this base.
fn number(version: &AgentVersion, base: &AgentVersion) -> Option<u64> {
    version.to_string().strip_prefix(&format!("{base}-dev."))?.parse().ok()
}

/// The version after all that are there.
pub(super) fn next<'a>(
    taken: impl Iterator<Item = &'a AgentVersion>,
    base: &AgentVersion,
) -> Result<AgentVersion, Failure> {
    let last = taken.filter_map(|version| number(version, base)).max().unwrap_or(0);
    let next = format!("{base}-dev.{}", last.saturating_add(1));
    next.parse().map_err(|error| Failure::new(ErrorCode::InvalidVersion, format!("`{next}` is no version: {error}")))
}

/// The newest deployment of this base that has these bytes.
pub(super) fn same<'a>(
    deployments: &'a [Deployment],
    base: &AgentVersion,
    checksum: &Digest,
) -> Option<&'a Deployment> {
    let ours = deployments.iter().filter(|found| found.checksum == *checksum);
    ours.filter_map(|found| Some((number(&found.version, base)?, found)))
        .max_by_key(|(n, _)| *n)
        .map(|(_, found)| found)
}

/// The SHA-256 of a component's file.
pub(super) async fn checksum(path: &Path) -> Result<Digest, Failure> {
    let bytes = tokio::fs::read(path)
        .await
        .map_err(|error| Failure::new(storage_code(&error), format!("cannot read {}: {error}", path.display())))?;
    Ok(digest_of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> AgentVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn numbers_rise_past_what_is_deployed() {
        let taken = ["0.1.0", "0.1.0-dev.2", "0.1.0-dev.10", "0.1.0-dev.x", "0.2.0-dev.40"].map(version);
        let next_of = |base: &str| next(taken.iter(), &version(base)).expect("a version").to_string();
        assert_eq!(next_of("0.1.0"), "0.1.0-dev.11");
        assert_eq!(next_of("0.3.0"), "0.3.0-dev.1");
        // A base that is a pre-release itself has numbers of its own.
        assert_eq!(next_of("0.1.0-dev.10"), "0.1.0-dev.10-dev.1");
    }
}
