//! What people do with an instance besides talking to it: look, interrupt, stop, start, delete.

use std::sync::Arc;

use podium_runtime::StopReason;
use podium_store::RowKind;
use podium_wire::ErrorCode;
use podium_wire::frames::CloseCode;
use podium_wire::rest::{InstanceInfo, InstanceStatus};
use podium_wire::updates::StatusEvent;

use super::{Owner, Reply, StateView};
use crate::error::Error;
use crate::metrics::TurnOutcome;

impl Owner {
    pub(super) fn info(&self) -> InstanceInfo {
        InstanceInfo {
            instance_id: self.id,
            deployment_id: self.core.component.clone(),
            status: self.status(),
            cut: self.core.cut,
            config: self.core.config.as_object().cloned().unwrap_or_default(),
            config_rev: self.core.config_rev,
            state_version: self.core.state_version,
            last_seq: self.position().last_seq,
            inbox: self.queue.len() as u64,
            created_at: self.core.created_at,
            ws_url: String::new(),
        }
    }

    pub(super) fn state_view(&self) -> StateView {
        StateView { state: Arc::clone(&self.core.state), version: self.core.state_version, cut: self.core.cut }
    }

    /// Ends the running turn: it leaves an error cut `interrupted`.
    pub(super) fn interrupt(&self) -> Result<(), Error> {
        match &self.running {
            Some(running) => {
                running.stop.stop(StopReason::Interrupt);
                Ok(())
            }
            None => Err(Error::coded(ErrorCode::NoActiveTurn, "no turn is running")),
        }
    }

    /// Sets the running turn aside for what is wanted at once; it begins again behind that. An upgrade answers nobody and has its
    /// limits: it is waited for, as is `on-init`, without which there is no instance yet.
    pub(super) fn make_way(&self) {
        let stays = |kind| matches!(kind, RowKind::Upgrade | RowKind::Init);
        if let Some(running) = self.running.as_ref().filter(|running| !stays(running.attempt.row.kind)) {
            running.stop.stop(StopReason::HostStop);
        }
    }

    /// Takes no more messages. A running turn is set aside without a cut and runs again after `start`.
    pub(super) async fn stop(&mut self) -> Result<InstanceStatus, Error> {
        if !self.core.stopped {
            self.store.set_stopped(true).await?;
            self.core.stopped = true;
            // An upgrade answers nobody: it goes on.
            if let Some(running) = self.running.as_ref().filter(|running| running.attempt.row.kind != RowKind::Upgrade)
            {
                running.stop.stop(StopReason::HostStop);
            }
            self.tell_status(InstanceStatus::Stopped, StatusEvent::Stopped);
        }
        Ok(InstanceStatus::Stopped)
    }

    /// Takes messages again.
    pub(super) async fn start(&mut self) -> Result<InstanceStatus, Error> {
        if self.core.stopped {
            self.store.set_stopped(false).await?;
            self.core.stopped = false;
            self.tell_status(self.status(), StatusEvent::Started);
            self.start_next().await;
        }
        Ok(self.status())
    }

    /// Removes the instance with its data, and ends.
    pub(super) async fn delete(mut self, reply: Reply<()>) {
        if let Some(running) = self.running.take() {
            running.stop.stop(StopReason::HostStop);
            // The guest holds the workspace until it is dropped.
            running.end.await;
            self.abandon(&running.attempt.turn, false);
            self.count(TurnOutcome::SetAside, running.began);
        }
        self.last_words().await;
        self.warm.drop_guest();
        self.maintenance.over().await;
        self.take_mount_away().await;
        self.tell_status(InstanceStatus::Stopped, StatusEvent::Terminating);
        let result = match self.leave_to_forks().await {
            Ok(()) => self.parts.store.delete(self.id).await.map_err(Error::from),
            // Others need what is here.
            Err(error) => Err(error),
        };
        self.tell_status(InstanceStatus::Stopped, StatusEvent::Terminated);
        self.shown.hub.close(CloseCode::Moved);
        self.parts.instances.forget(self.id, &self.shown);
        self.commands.close();
        drop(reply.send(result));
        while let Some(command) = self.commands.recv().await {
            command.refuse(Error::InstanceNotFound(self.id));
        }
    }
}
