//! The host that `podium dev` runs in its own process: as `podium up`, on a free loopback port, gone when the command ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use podium_coordinator::Options;
use podium_wire::ErrorCode;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::commands::up;
use crate::compiler;
use crate::exit::Failure;
use crate::output::note;

/// A running host.
pub(super) struct Host {
    url: String,
    data: PathBuf,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<bool, podium_coordinator::ServeError>>,
}

impl Host {
    /// Starts one over this data folder and waits until it listens.
    pub(super) async fn start(data: &Path) -> Result<Self, Failure> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = oneshot::channel();
        let folder = data.to_owned();
        let mut serving = podium_kit::spawn::task("host", async move {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            // Ends too when the command is dropped without a word.
            let stop = async move { drop(stopped.await) };
            let ready = |address: SocketAddr| {
                // Nobody waits for it only when the command has ended.
                let _ = ready.send(address);
            };
            let compiler = compiler::own(podium_coordinator::COMPILE_CPU_DEFAULT);
            podium_coordinator::serve(&folder, any, compiler, stop, ready, Options::default()).await
        });
        let internal = || Failure::new(ErrorCode::Internal, "the host did not start");
        tokio::select! {
            biased;
            address = address => {
                let address = address.map_err(|_| internal());
                match address {
                    Ok(address) => Ok(Self { url: format!("http://{address}"), data: data.to_owned(), stop, serving }),
                    Err(failure) => Err(why(serving.await).unwrap_or(failure)),
                }
            }
            ended = &mut serving => Err(why(ended).unwrap_or_else(internal)),
        }
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Its data folder.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Stops it as a signal would: running turns get their grace and are kept.
    pub(super) async fn stop(self) {
        // Fails only when it has ended already.
        let _ = self.stop.send(());
        match self.serving.await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => note("some turns did not end in time; they run again at the next start"),
            Ok(Err(error)) => note(&format!("the host ended with: {error}")),
            Err(error) => note(&format!("the host failed: {error}")),
        }
    }
}

fn why(ended: Result<Result<bool, podium_coordinator::ServeError>, tokio::task::JoinError>) -> Option<Failure> {
    ended.ok()?.err().map(|error| up::failure(&error))
}
