//! `podium:agent/messages`.

use wasmtime::component::{Access, FutureReader};

use crate::bindings::podium::agent::{messages, types};
use crate::gate::Waits;
use crate::guest::{Guest, GuestState};
use crate::host::value;

impl messages::Host for GuestState {}

impl<T: Send> messages::HostWithStore<T> for Guest {
    fn history(
        mut access: Access<'_, T, Self>,
        before: Option<u64>,
        limit: u32,
    ) -> wasmtime::Result<FutureReader<Result<messages::Page, types::Error>>> {
        let state = access.get();
        let page = value(state.turn("messages.history")?.history(before, limit))?;
        let answer = state.gate.wait(Waits::ForHost, 0, page);
        FutureReader::new(&mut access, async move {
            let page = answer.await.read();
            Ok::<_, wasmtime::Error>(page.map(messages::Page::from).map_err(types::Error::from))
        })
    }
}
