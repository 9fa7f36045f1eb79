//! What an export reads of an instance: its values at a cut, and where its files are.
//!
//! Reads only, but for the lease that keeps those files. A running turn goes on. Must never read a file's content here: that is asked for in pieces.

use podium_chronicle::ChronicleError;
use podium_wire::ErrorCode;

use super::Owner;
use super::workspace::{blocking, named};
use crate::error::Error;
use crate::portable::{ExportFiles, ExportRequest, Exporting, LEASE_MS};

impl Owner {
    /// The instance as a cut had it, or the last one, whose content is kept from now on.
    pub(super) async fn export(&mut self, request: ExportRequest) -> Result<Exporting, Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        if request.at.is_none() && self.running.is_none() {
            // What a person has written by now is part of it.
            self.close_mount().await?;
        }
        let at = self.target(request.at.unwrap_or(self.core.cut)).await?;
        let files = named(at.cut.cut, at.cut.workspace.as_ref())?;
        let Some(root) = files.root.filter(|root| *root != podium_chronicle::empty_root()) else {
            return Ok(Exporting { at, files: None });
        };
        let (version, until) = (files.version, self.parts.clock.now_ms() + LEASE_MS);
        let held = blocking(&self.workspace, move |workspace| {
            workspace.read(|chronicle| chronicle.hold(version, root, &request.lease, until))
        });
        match held.await {
            Ok(Some((left_out, totals))) => {
                Ok(Exporting { at, files: Some(ExportFiles { version, root, totals, left_out }) })
            }
            Ok(None) => Err(Error::coded(ErrorCode::InstanceDamaged, "the workspace of a cut is not there")),
            Err(Error::Workspace(ChronicleError::NoVersion(_))) => {
                Err(Error::coded(ErrorCode::CutNotKept, format!("the files of cut {} were collected", at.cut.cut)))
            }
            Err(error) => Err(error),
        }
    }
}
