//! `podium:agent/ask`.

use podium_capabilities::ask::AskGuard;
use podium_capabilities::effect::Unread;
use wasmtime::component::{Access, FutureReader};

use crate::bindings::podium::agent::{ask, types};
use crate::gate::{Answer, Waits};
use crate::guest::{Guest, GuestState};
use crate::host::value;

impl ask::Host for GuestState {}

impl<T: Send> ask::HostWithStore<T> for Guest {
    fn question(
        mut access: Access<'_, T, Self>,
        question: ask::QuestionRequest,
    ) -> wasmtime::Result<FutureReader<Result<ask::Answer, types::Error>>> {
        let state = access.get();
        let (call, guard) = value(state.turn("ask.question")?.question(question.into()))?;
        let answer = state.gate.wait(Waits::ForOutside, 0, call);
        FutureReader::new(&mut access, released(answer, guard))
    }

    fn permission(
        mut access: Access<'_, T, Self>,
        request: ask::PermissionRequest,
    ) -> wasmtime::Result<FutureReader<Result<ask::Decision, types::Error>>> {
        let state = access.get();
        let (call, guard) = value(state.turn("ask.permission")?.permission(request.into()))?;
        let answer = state.gate.wait(Waits::ForOutside, 0, call);
        FutureReader::new(&mut access, released(answer, guard))
    }
}

/// The answer once the gate has released it. The guard lives as long as the guest may still read it.
async fn released<A, B: From<A>>(
    answer: Answer<Unread<Result<A, podium_wire::WireError>>>,
    guard: AskGuard,
) -> wasmtime::Result<Result<B, types::Error>> {
    let answer = answer.await.read();
    drop(guard);
    Ok(answer.map(B::from).map_err(types::Error::from))
}
