//! What `podium dev` says: lines for a person, or one JSON document an event.

use std::path::PathBuf;
use std::time::Duration;

use podium_wire::frames::{ClientFrame, ServerFrame, Subscribe};
use podium_wire::updates::{DeploymentReason, UpdateBody};
use podium_wire::{DeploymentId, InstanceId, WireError};
use serde::Serialize;

use crate::client::Client;
use crate::client::socket::Gone;
use crate::exit::Failure;
use crate::output::{GOOD, Output, WARN};

/// The pause before a lost connection is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Something happened.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// A build begins.
    Building,
    /// A new version is on the server.
    Deployed { deployment_id: &'a DeploymentId },
    /// The instance can be talked to.
    Ready {
        instance_id: InstanceId,
        deployment_id: &'a DeploymentId,
        url: &'a str,
        /// Where the token is, for the folder's own host.
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<PathBuf>,
    },
    /// The new version answers from here on.
    Upgraded { deployment_id: &'a DeploymentId, previous_deployment_id: &'a DeploymentId },
    /// It will when the running turn is over.
    Waiting { deployment_id: &'a DeploymentId },
    /// The source makes what runs already.
    Unchanged { deployment_id: &'a DeploymentId },
    /// It failed in its first turn; the one before runs again.
    PutBack { deployment_id: &'a DeploymentId, failed_deployment_id: &'a DeploymentId, error: &'a WireError },
    /// A build, a deploy or an upgrade failed; what ran before goes on.
    Failed { error: &'a WireError },
}

/// Where it is said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Say<'a> {
    output: &'a Output,
}

impl<'a> Say<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        Self { output }
    }

    /// Says what happened.
    pub(super) fn event(&self, event: &Event<'_>) -> Result<(), Failure> {
        if self.output.is_json() {
            return self.output.json_line(event);
        }
        let output = self.output;
        match event {
            Event::Building => output.line("building"),
            Event::Deployed { deployment_id } => output.marked(GOOD, "deployed", &deployment_id.to_string()),
            Event::Ready { instance_id, deployment_id, url, data } => {
                output.marked(GOOD, "ready", &format!("{instance_id} runs {deployment_id} at {url}"))?;
                let data = data.as_ref().map(|data| format!(" --data {}", data.display())).unwrap_or_default();
                output.line(&format!("talk to it from anywhere: podium chat {instance_id} --url {url}{data}"))
            }
            Event::Upgraded { deployment_id, previous_deployment_id } => {
                output.marked(GOOD, "upgraded", &format!("{deployment_id} (was {previous_deployment_id})"))
            }
            Event::Waiting { deployment_id } => {
                output.marked(GOOD, "waiting", &format!("{deployment_id} takes over when the running turn is over"))
            }
            Event::Unchanged { deployment_id } => output.marked(GOOD, "unchanged", &deployment_id.to_string()),
            Event::PutBack { deployment_id, failed_deployment_id, error } => {
                let text =
                    format!("{deployment_id}: {failed_deployment_id} failed ({}: {})", error.code, error.message);
                output.marked(WARN, "put back", &text)
            }
            Event::Failed { error } => {
                crate::exit::say(error);
                Ok(())
            }
        }
    }

    /// Says a failure that ends nothing.
    pub(super) fn failed(&self, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Error { error, .. } => self.event(&Event::Failed { error: &error }),
            Failure::Said(_) => Ok(()),
            Failure::PipeClosed => Err(Failure::PipeClosed),
        }
    }

    /// Tells of versions that are put back, for as long as it is polled.
    pub(super) async fn listen(self, client: &Client, instance: InstanceId) -> Result<(), Failure> {
        let mut seen = None;
        loop {
            match self.hear(client, instance, &mut seen).await {
                Ok(never) => match never {},
                Err(Gone::Refused(failure)) => return Err(failure),
                Err(Gone::Lost(_)) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn hear(
        self,
        client: &Client,
        instance: InstanceId,
        seen: &mut Option<u64>,
    ) -> Result<std::convert::Infallible, Gone> {
        let mut socket = client.socket(instance).await?;
        loop {
            match socket.next().await? {
                ServerFrame::Hello(hello) => match *seen {
                    // What came while the connection was lost is read again.
                    Some(after_seq) => {
                        let from = Subscribe { after_seq, ..Subscribe::default() };
                        socket.send(&ClientFrame::Subscribe(from)).await?;
                    }
                    None => *seen = Some(hello.last_seq),
                },
                ServerFrame::Update(update) => {
                    if let Some(seq) = update.seq {
                        if seen.is_some_and(|seen| seq <= seen) {
                            continue;
                        }
                        *seen = Some(seq);
                    }
                    if let Ok(UpdateBody::DeploymentChanged(changed)) = update.body()
                        && changed.reason == DeploymentReason::PutBack
                        && let Some(error) = &changed.error
                    {
                        let event = Event::PutBack {
                            deployment_id: &changed.deployment_id,
                            failed_deployment_id: &changed.previous_deployment_id,
                            error,
                        };
                        self.event(&event).map_err(Gone::Refused)?;
                    }
                }
                _ => {}
            }
        }
    }
}
