//! `podium:agent/workspace`.

use podium_capabilities::CallError;
use podium_capabilities::workspace::Quota;
use podium_wire::{ErrorCode, WireError};

use crate::bindings::podium::agent::{types, workspace};
use crate::guest::GuestState;
use crate::host::answer;

type Answer<T> = wasmtime::Result<Result<T, types::Error>>;

impl GuestState {
    /// What the guest may still write, the workspace being open for it.
    fn room(&mut self, call: &'static str) -> wasmtime::Result<Result<Quota, CallError>> {
        self.turn(call)?;
        match self.open_workspace() {
            Ok(Some(quota)) => Ok(Ok(quota)),
            Ok(None) => {
                self.check_open_files()?;
                Ok(Err(CallError::refused(ErrorCode::Internal, "the workspace is not open")))
            }
            Err(error) => {
                let code = error.code();
                tracing::error!(%code, %error, "a workspace cannot be opened for its agent");
                Ok(Err(WireError::new(code, error.to_string()).into()))
            }
        }
    }
}

impl workspace::Host for GuestState {
    fn read(&mut self, path: String, offset: u64, len: u32) -> Answer<Vec<u8>> {
        answer(self.turn("workspace.read")?.workspace_read(&path, offset, len))
    }

    fn write(&mut self, path: String, offset: Option<u64>, content: Vec<u8>) -> Answer<()> {
        let room = self.room("workspace.write")?;
        let turn = self.turn("workspace.write")?;
        answer(room.and_then(|quota| turn.workspace_write(&quota, &path, offset, &content)))
    }

    fn list(&mut self, path: String, after: Option<String>, limit: u32) -> Answer<workspace::Listing> {
        let listing = self.turn("workspace.list")?.workspace_list(&path, after.as_deref(), limit);
        answer(listing.map(workspace::Listing::from))
    }

    fn remove(&mut self, path: String) -> Answer<()> {
        let room = self.room("workspace.remove")?;
        let turn = self.turn("workspace.remove")?;
        answer(room.and_then(|quota| turn.workspace_remove(&quota, &path)))
    }

    fn commit(&mut self) -> Answer<u64> {
        answer(self.turn("workspace.commit")?.workspace_commit())
    }

    fn history(&mut self, path: String, after: u64, limit: u32) -> Answer<workspace::Page> {
        let page = self.turn("workspace.history")?.workspace_history(&path, after, limit);
        answer(page.map(workspace::Page::from))
    }

    fn read_at(&mut self, path: String, moment: u64, offset: u64, len: u32) -> Answer<Vec<u8>> {
        answer(self.turn("workspace.read-at")?.workspace_read_at(&path, moment, offset, len))
    }

    fn diff(&mut self, earlier: Option<u64>, later: Option<u64>) -> Answer<workspace::Changes> {
        let changes = self.turn("workspace.diff")?.workspace_diff(earlier, later);
        answer(changes.map(workspace::Changes::from))
    }

    fn restore(&mut self, path: String, moment: u64) -> Answer<()> {
        let room = self.room("workspace.restore")?;
        let turn = self.turn("workspace.restore")?;
        answer(room.and_then(|quota| turn.workspace_restore(&quota, &path, moment)))
    }
}
