//! Runs one turn in a guest: a fresh one, unless a warm one is given.
//!
//! Owns the way of a call: room for a guest, a store, the export, the end. The store is dropped here, on the
//! same threads, whatever happened, but for a guest that answered well and has a seat to rest on.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_capabilities::{Limits, Turn};
use podium_kit::descriptors::Part;
use podium_kit::{BlockingThreads, Clock, Randomness};
use podium_wire::message::Message;
use podium_wire::rest::Description;
use podium_wire::{ErrorCode, WireError};
use serde_json::Value;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Accessor;

use crate::bindings::exports::podium::agent::lifecycle;
use crate::bindings::podium::agent::types;
use crate::compiler::Compiler;
use crate::convert;
use crate::driver::{Driver, Ended};
use crate::end::{self, End};
use crate::engine::{self, EngineError};
use crate::gate::Gate;
use crate::guest::{GuestParts, GuestState};
use crate::host::stdio::Stdio;
use crate::host::workspace::Nowhere;
use crate::load::{Agent, Loader};
use crate::meter::{Meter, Ticker};
use crate::room;
use crate::steer::{Hook, Steers};
use crate::stop::{StopSignal, stop_pair};
use crate::warm::{Living, Place, Pool, Pressure, Seat, WarmBudget};

/// Processor time of `describe`: it only says what is known when the agent is built.
const DESCRIBE_CPU: Duration = Duration::from_secs(2);
/// Time of `describe`; somebody waits at the deploy.
const DESCRIBE_WALL: Duration = Duration::from_secs(5);

/// Guests that compute at once, for each core: some wait for files in it. More would only share the cores, and take them
/// from those who serve connections.
const POLLS_PER_CORE: usize = 4;

/// How long a turn that found no room in the pool waits before it tries again: a guest that ends makes room within that time
/// on a busy host, and on a full one nobody hurries.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(100);

/// What a runtime is made with.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The folder of compiled code, `cache/code` in the data folder; made when it is not there.
    pub code_cache: PathBuf,
    /// The host's clock.
    pub clock: Clock,
    /// The host's randomness.
    pub random: Randomness,
    /// Where guests run: their file calls block.
    pub threads: BlockingThreads,
    /// The descriptors that guests' files may take, all together.
    pub files: Part,
    /// How many guests are kept between turns.
    pub warm: WarmBudget,
    /// How many guests live at once, at most; fewer where the machine does not have the mappings for so many.
    pub guests: usize,
    /// How components are compiled.
    pub compiler: Compiler,
    /// How long a turn waits for people and timers before its guest is dropped.
    pub waiting_idle: Duration,
}

/// One changed place of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigChange {
    /// JSON Pointer of the place.
    pub pointer: String,
    /// What was there.
    pub old: Option<Value>,
    /// What is there now.
    pub new: Option<Value>,
}

/// The hook that a turn calls.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// `on-init`.
    Init,
    /// `on-message`.
    Message(Message),
    /// `on-config-change`.
    ConfigChange {
        /// What changes.
        changes: Vec<ConfigChange>,
        /// Who changed it.
        source: String,
    },
    /// `migrate`, from this version of the state's schema.
    Migrate(u32),
    /// `on-idle`.
    Idle,
    /// `on-shutdown`.
    Shutdown(ShutdownReason),
}

/// Why an agent is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownReason {
    /// Nothing happened for a while.
    IdleTimeout,
    /// The instance is being deleted.
    Deleted,
    /// Its memory is needed elsewhere.
    Pressure,
}

/// How a turn ended. The turn itself is still open: the caller completes or fails it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// The hook answered well.
    Completed,
    /// `on-idle` answered well, and asks for more time.
    Deferred,
    /// It did not, or a limit or an interrupt ended it; the error has the code.
    Failed(WireError),
    /// The host had no room for the guest, which was not its fault: nothing is said of the turn, it runs again at once.
    NoRoom,
    /// The host stops: nothing is said of the turn, it runs again.
    HostStopped,
    /// It has waited long enough to be dropped. Its journal is durable and brings it back.
    Suspended {
        /// When the first timer that it waits for fires, nanoseconds since the Unix epoch.
        due_ns: Option<u64>,
    },
    /// It was run again and went another way than before; the error says where. Nothing of it may become true.
    Diverged(WireError),
}

/// The wasm lane. Lives as long as the host.
#[derive(Debug)]
pub struct Runtime {
    shared: Arc<Shared>,
    threads: BlockingThreads,
    loader: Loader,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    ticker: Ticker,
    clock: Clock,
    guests: Arc<Pool>,
    /// The places of all guests.
    places: usize,
    polls: Semaphore,
    nowhere: Nowhere,
    files: Part,
    waiting_idle: Duration,
}

/// The runtime could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The thread that ticks while guests run.
    #[error("the ticking thread cannot be started: {0}")]
    Ticker(#[source] std::io::Error),
    /// The folder that stands for a workspace until it is used.
    #[error("the compiled-code cache cannot be used: {0}")]
    Nowhere(#[source] std::io::Error),
    /// The compiled-code cache.
    #[error(transparent)]
    Cache(#[from] crate::code_cache::CacheError),
}

impl Runtime {
    /// Makes the engine, its ticker and the compiled-code cache.
    ///
    /// # Errors
    /// When the system refuses threads or address space, or the cache's folder is not ours alone.
    pub fn new(config: RuntimeConfig) -> Result<Self, StartError> {
        let fit = room::guests_that_fit(room::mappings_limit());
        if fit < config.guests {
            tracing::warn!(guests = fit, "vm.max_map_count bounds how many agents may be in a turn at once");
        }
        let places = config.guests.clamp(1, fit);
        let engine = engine::build(places)?;
        let ticker = Ticker::start(&engine).map_err(StartError::Ticker)?;
        let loader = Loader::new(&engine, &config.code_cache, &config.random, config.compiler)?;
        let nowhere = Nowhere::new(&config.code_cache).map_err(StartError::Nowhere)?;
        let guests = Arc::new(Pool::new(config.warm, places, Pressure::new(config.clock.clone())));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let polls = Semaphore::new(cores.saturating_mul(POLLS_PER_CORE));
        let (clock, files, waiting_idle) = (config.clock, config.files, config.waiting_idle);
        let shared = Arc::new(Shared { engine, ticker, clock, guests, places, polls, nowhere, files, waiting_idle });
        Ok(Self { shared, threads: config.threads, loader })
    }

    /// Guests that live now, warm ones too.
    pub fn guests(&self) -> usize {
        self.shared.guests.guests()
    }

    /// Guests that are kept between turns.
    pub fn warm_guests(&self) -> usize {
        self.shared.guests.len()
    }

    /// A place for one instance's guest between turns.
    pub fn seat(&self) -> Seat {
        Seat::open(&self.shared.guests)
    }

    pub(crate) fn loader(&self) -> &Loader {
        &self.loader
    }

    /// Begins one hook of a turn in a fresh guest, as a task of its own on the threads that may block; the future answers how
    /// it ended. Dropping it ends the guest.
    pub fn run(&self, agent: &Arc<Agent>, turn: Turn, call: Call, stop: StopSignal) -> BoxFuture<'static, TurnEnd> {
        self.run_steered(agent, turn, call, stop, None)
    }

    /// The same, with the steers that reach the hook while it waits. Such a guest may wait for nothing but a steer.
    pub fn run_steered(
        &self,
        agent: &Arc<Agent>,
        turn: Turn,
        call: Call,
        stop: StopSignal,
        steers: Option<Steers>,
    ) -> BoxFuture<'static, TurnEnd> {
        self.run_on((None, None), agent, turn, call, stop, steers)
    }

    /// The same for an instance whose guest is kept: in the guest that [`Seat::claim`] has claimed, else in a fresh one. A guest
    /// that answers well and leaves nothing running rests on the seat afterwards; the caller clears the seat when the turn's
    /// cut does not become true.
    pub fn run_in(
        &self,
        seat: &Seat,
        agent: &Arc<Agent>,
        turn: Turn,
        call: Call,
        stop: StopSignal,
        steers: Option<Steers>,
    ) -> BoxFuture<'static, TurnEnd> {
        let warm = seat.take_claimed();
        if warm.is_none() {
            seat.clear();
        }
        // After its last hook a guest rests no more.
        let place = (!matches!(call, Call::Shutdown(_))).then(|| seat.place());
        self.run_on((place, warm), agent, turn, call, stop, steers)
    }

    fn run_on(
        &self,
        kept: Kept,
        agent: &Arc<Agent>,
        turn: Turn,
        call: Call,
        stop: StopSignal,
        steers: Option<Steers>,
    ) -> BoxFuture<'static, TurnEnd> {
        let (shared, agent) = (Arc::clone(&self.shared), Arc::clone(agent));
        let turn = async move { shared.turn(&agent, turn, call, (stop, steers), kept).await };
        let ended = self.threads.run("turn", turn).finished();
        let failed = || TurnEnd::Failed(WireError::new(ErrorCode::Internal, "the host failed while it ran the agent"));
        // Boxed here, so that the engine's generic code is compiled in this crate only.
        ended.map(move |ended| ended.unwrap_or_else(failed)).boxed()
    }

    /// Asks an agent what it is, in a fresh guest without turn, workspace, state or network.
    ///
    /// # Errors
    /// `POD-2013` with the cause.
    pub fn describe(&self, agent: &Arc<Agent>) -> BoxFuture<'_, Result<Description, WireError>> {
        self.describe_on_guest_thread(Arc::clone(agent)).boxed()
    }

    async fn describe_on_guest_thread(&self, agent: Arc<Agent>) -> Result<Description, WireError> {
        let shared = Arc::clone(&self.shared);
        let ended = self.threads.run("describe", async move { shared.describe(&agent).await }).finished().await;
        let failed =
            |message: String| WireError::new(ErrorCode::DescribeFailed, format!("`describe` failed: {message}"));
        match ended {
            Some(Ok(said)) => convert::lifecycle::description(said).map_err(|error| failed(error.to_string())),
            Some(Err(End::Failed(error))) => Err(failed(error.message)),
            Some(Err(End::NoRoom | End::HostStopped | End::Suspended(_) | End::Diverged(_))) | None => {
                Err(failed("the host failed while it ran the agent".to_owned()))
            }
        }
    }
}

impl Shared {
    async fn turn(&self, agent: &Agent, turn: Turn, call: Call, outside: Outside, kept: Kept) -> TurnEnd {
        let export = match Export::try_from(call) {
            Ok(export) => export,
            Err(error) => return TurnEnd::Failed(error),
        };
        let limits = turn.limits().clone();
        match self.call(agent, Some(turn), &limits, outside, export, kept).await {
            Ok(Answer::Done(Ok(())) | Answer::Idle(true)) => TurnEnd::Completed,
            Ok(Answer::Idle(false)) => TurnEnd::Deferred,
            Ok(Answer::Done(Err(error))) => TurnEnd::Failed(guest_error(error)),
            Ok(Answer::Description(_)) => TurnEnd::Failed(WireError::new(ErrorCode::Internal, "no hook was called")),
            Err(End::Failed(error)) => TurnEnd::Failed(error),
            Err(End::NoRoom) => TurnEnd::NoRoom,
            Err(End::HostStopped) => TurnEnd::HostStopped,
            Err(End::Suspended(due_ns)) => TurnEnd::Suspended { due_ns },
            Err(End::Diverged(error)) => TurnEnd::Diverged(error),
        }
    }

    async fn describe(&self, agent: &Agent) -> Result<lifecycle::Description, End> {
        let limits = Limits { cpu: DESCRIBE_CPU, wall: DESCRIBE_WALL, wait: DESCRIBE_WALL, ..Limits::default() };
        loop {
            let (_handle, stop) = stop_pair();
            match self.call(agent, None, &limits, (stop, None), Export::Describe, (None, None)).await {
                Ok(Answer::Description(said)) => return Ok(said),
                Ok(Answer::Done(_) | Answer::Idle(_)) => {
                    return Err(End::Failed(WireError::new(ErrorCode::Internal, "a hook was called")));
                }
                // It was not called, for want of room; `call` has paused.
                Err(End::NoRoom) => {}
                Err(end) => return Err(end),
            }
        }
    }

    /// Makes a guest, or takes the warm one, calls one export, and drops the guest or lets it rest.
    async fn call(
        &self,
        agent: &Agent,
        turn: Option<Turn>,
        limits: &Limits,
        (stop, steers): Outside,
        export: Export,
        (place, warm): Kept,
    ) -> Result<Answer, End> {
        let gate = Gate::default();
        let meter = Arc::new(Meter::new(self.clock.clone(), limits.cpu));
        let parts = |stdio, uses_files| GuestParts {
            turn: turn.clone(),
            gate: gate.clone(),
            stdio,
            limits: limits.clone(),
            uses_files,
            meter: Arc::clone(&meter),
            stop: stop.watcher(),
            nowhere: &self.nowhere,
            files: &self.files,
        };
        let mut guest = match warm {
            Some(mut guest) => {
                let parts = parts(guest.stdio.clone(), Arc::clone(&guest.uses_files));
                guest.store.data_mut().resume(parts);
                guest.store.set_epoch_deadline(1);
                guest
            }
            None => {
                let room = tokio::select! {
                    room = self.guests.room(agent.places(self.places)) => room,
                    reason = stop.stopped() => return Err(reason.into()),
                };
                let parts = parts(Stdio::new(turn.as_ref()), Arc::new(AtomicBool::new(false)));
                Box::new(Living::new(&self.engine, agent, room, parts))
            }
        };
        let (stdio, uses_files) = (guest.stdio.clone(), Arc::clone(&guest.uses_files));
        let ended = {
            let Living { store, instance, .. } = &mut *guest;
            let call = async {
                let instance = match instance {
                    Some(instance) => instance,
                    None => instance.insert(agent.pre().instantiate_async(&mut *store).await?),
                };
                let exports = instance.podium_agent_lifecycle();
                let (turn, steers) = (turn.as_ref(), steers.as_ref());
                let once = async |accessor: &Accessor<GuestState>| {
                    call_once(export.steered(exports, accessor, turn, steers), accessor, &meter).await
                };
                store.run_concurrent(once).await?
            };
            let driver = Driver {
                turn: turn.as_ref(),
                clock: &self.clock,
                gate: &gate,
                meter: &meter,
                ticker: &self.ticker,
                polls: &self.polls,
                stop: &stop,
                steers: steers.as_ref(),
                uses_files: &uses_files,
                wall: limits.wall,
                wait: limits.wait,
                waiting_idle: self.waiting_idle,
            };
            let ended = driver.drive(std::pin::pin!(call)).await;
            // Whatever it answers, it was kept from its files.
            let ended = match (diverged(turn.as_ref(), ended), guest.store.data().refused_files()) {
                (Ok(_), Some(limit)) => Err(Ended::Limit(limit)),
                (ended, _) => ended,
            };
            if let Some(turn) = &turn {
                turn.guest_ended();
            }
            ended
        };
        // What still waits for an answer is a task that the guest left behind; an answer that lies unread would add up turn by turn.
        let leaves_nothing = !gate.is_waiting() && !turn.as_ref().is_some_and(Turn::holds_unread);
        let rests = matches!(&ended, Ok((answer, true)) if answer.is_good()) && leaves_nothing;
        match place.filter(|_| rests) {
            Some(place) => {
                stdio.finish();
                place.keep(guest);
            }
            // Everything of the guest ends here, running calls too.
            None => drop(guest),
        }
        let last_words = stdio.finish();
        let end = match ended {
            Ok((answer, _)) => return Ok(answer),
            Err(ended) => end::read(ended, &last_words, turn.as_ref()),
        };
        if end == End::NoRoom {
            tokio::select! {
                () = tokio::time::sleep(NO_ROOM_PAUSE) => {}
                reason = stop.stopped() => return Err(reason.into()),
            }
        }
        Err(end)
    }
}

/// What ended a guest that was run again, and whether that was where it had been.
fn diverged<T>(turn: Option<&Turn>, ended: Result<T, Ended>) -> Result<T, Ended> {
    let Some(turn) = turn else { return ended };
    if let Some(error) = turn.journal().diverged() {
        return Err(Ended::Diverged(error));
    }
    match ended {
        Ok(_) if turn.journal().is_behind() => Err(Ended::Diverged(turn.journal().stops_short())),
        ended => ended,
    }
}

/// What reaches a turn from outside: its stop signal, and the steers.
type Outside = (StopSignal, Option<Steers>);

/// Where a guest may rest, and the one that rested there.
type Kept = (Option<Place>, Option<Box<Living>>);

/// Looks at a guest that has answered before it is taken to have left a task behind.
const LAST_LOOKS: u32 = 2;

/// The answer of a call, and whether the guest has no task left behind it.
async fn call_once(
    call: impl Future<Output = wasmtime::Result<Answer>>,
    accessor: &Accessor<GuestState>,
    meter: &Meter,
) -> wasmtime::Result<(Answer, bool)> {
    let answer = call.await?;
    let mut looks = 0;
    let is_quiet = poll_fn(|cx| {
        let is_quiet = accessor.poll_no_interesting_tasks(cx).is_ready();
        // A tick may have come between the answer and the end of its task, which then needs a moment more.
        if is_quiet || looks == LAST_LOOKS || meter.yields() == 0 {
            return Poll::Ready(is_quiet);
        }
        looks += 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    Ok((answer, is_quiet))
}

/// The export to call, its arguments ready.
enum Export {
    Describe,
    Init,
    Message(Box<types::Message>),
    ConfigChange(Vec<lifecycle::ConfigChange>, String),
    Migrate(u32),
    Idle,
    Shutdown(lifecycle::ShutdownReason),
}

/// What an export answered.
enum Answer {
    Description(lifecycle::Description),
    Done(Result<(), types::Error>),
    Idle(bool),
}

impl Answer {
    /// False for an error of the agent's own: nothing of its turn becomes true, so its memory must not stay.
    fn is_good(&self) -> bool {
        !matches!(self, Self::Done(Err(_)))
    }
}

impl TryFrom<Call> for Export {
    type Error = WireError;

    fn try_from(call: Call) -> Result<Self, WireError> {
        Ok(match call {
            Call::Init => Self::Init,
            Call::Message(message) => {
                let message = convert::types::message(message)
                    .map_err(|error| WireError::new(ErrorCode::BadRequest, error.to_string()))?;
                Self::Message(Box::new(message))
            }
            Call::ConfigChange { changes, source } => {
                let changes = changes.into_iter().map(convert::lifecycle::config_change).collect();
                Self::ConfigChange(changes, source)
            }
            Call::Migrate(from) => Self::Migrate(from),
            Call::Idle => Self::Idle,
            Call::Shutdown(reason) => Self::Shutdown(convert::lifecycle::shutdown_reason(reason)),
        })
    }
}

impl Export {
    /// Calls the export, and `on-steer` beside it for each steer that is released.
    async fn steered(
        self,
        exports: &lifecycle::Guest,
        accessor: &Accessor<GuestState>,
        turn: Option<&Turn>,
        steers: Option<&Steers>,
    ) -> wasmtime::Result<Answer> {
        let (Some(turn), Some(steers)) = (turn, steers) else { return self.call(exports, accessor).await };
        let start = |message: Message| -> Hook<'_, _, wasmtime::Error> {
            turn.steer_delivered(&message);
            let id = message.id.clone();
            // The host checks attachments before it accepts a steer.
            let message = convert::types::message(message)
                .map_err(|error| WireError::new(ErrorCode::BadRequest, error.to_string()));
            Box::pin(async move {
                let answer = match message {
                    Ok(message) => exports.call_on_steer(accessor, message).await?.map_err(guest_error),
                    Err(error) => Err(error),
                };
                Ok((id, answer))
            })
        };
        let ended = |(id, answer): (String, Result<(), WireError>)| {
            if let Err(error) = answer {
                turn.steer_failed(&id, error);
            }
        };
        let is_good = |answer: &Answer| matches!(answer, Answer::Done(Ok(())));
        steers.beside(self.call(exports, accessor), is_good, start, ended).await
    }

    async fn call(self, exports: &lifecycle::Guest, accessor: &Accessor<GuestState>) -> wasmtime::Result<Answer> {
        Ok(match self {
            Self::Describe => Answer::Description(exports.call_describe(accessor).await?),
            Self::Init => Answer::Done(exports.call_on_init(accessor).await?),
            Self::Message(message) => Answer::Done(exports.call_on_message(accessor, *message).await?),
            Self::ConfigChange(changes, source) => {
                Answer::Done(exports.call_on_config_change(accessor, changes, source).await?)
            }
            Self::Migrate(from) => Answer::Done(exports.call_migrate(accessor, from).await?),
            Self::Idle => Answer::Idle(exports.call_on_idle(accessor).await?),
            Self::Shutdown(reason) => Answer::Done(exports.call_on_shutdown(accessor, reason).await?),
        })
    }
}

/// A guest's own error keeps its words, and its code among them: `POD-4002` is the only code that a guest can end with by its
/// own word, so that each other one says what the host saw.
fn guest_error(error: types::Error) -> WireError {
    let error = WireError::from(error);
    let mut known = WireError::new(ErrorCode::GuestError, format!("{}: {}", error.code, error.message));
    if error.code.is_empty() {
        known.message = error.message;
    }
    known.hint = error.hint.or(known.hint);
    known.retryable = error.retryable;
    known
}
