//! `/asks`, `/answer`, `/approve`: what a turn asks people, and what they say to it. The frames `answer` and `approve`, too.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use podium_capabilities::ask::{Given, GivenBy};
use podium_kit::HttpError;
use podium_wire::InstanceId;
use podium_wire::asks::{AskList, GivenAnswer, GivenDecision};
use tokio::sync::oneshot;

use super::extract::{self, Instance};
use crate::auth::LOCAL_PRINCIPAL;
use crate::error::Error;
use crate::host::Parts;
use crate::hub::{Client, Hub};
use crate::owner::{Command, Giving, Reply};

/// An answer as the owner takes it.
fn giving(request_id: String, given: Given, channel: &'static str, reply: Reply<()>) -> Command {
    let by = GivenBy { principal: LOCAL_PRINCIPAL.to_owned(), channel };
    Command::Give(Giving { request_id, given, by, reply })
}

/// Everything that waits for an answer.
pub(super) async fn list(State(parts): State<Arc<Parts>>, Instance(id): Instance) -> Result<Json<AskList>, HttpError> {
    Ok(Json(parts.instances.ask(&parts, id, Command::Asks).await?))
}

/// Answers a question: 204 when this answer was the first.
pub(super) async fn answer(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Json(GivenAnswer { request_id, answer }): extract::Json<GivenAnswer>,
) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, |reply| giving(request_id, Given::Answer(answer), "http", reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Decides on a permission: 204 when this decision was the first.
pub(super) async fn approve(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Json(GivenDecision { request_id, decision }): extract::Json<GivenDecision>,
) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, |reply| giving(request_id, Given::Decision(decision), "http", reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a connection says. Only a refusal is answered: that it was taken, everybody is told by an update.
pub(super) fn from_client(parts: &Arc<Parts>, id: InstanceId, client: &Arc<Client>, request_id: String, given: Given) {
    let (reply, taken) = oneshot::channel::<Result<(), Error>>();
    parts.instances.send(parts, id, giving(request_id, given, "ws", reply));
    let client = Arc::clone(client);
    podium_kit::spawn::task("answer to an answer", async move {
        if let Ok(Err(error)) = taken.await {
            Hub::reply_error(&client, error.into());
        }
    });
}
