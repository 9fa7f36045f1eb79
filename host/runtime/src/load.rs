//! Components on their way to being run: compiled once, checked against the world, kept ready.
//!
//! One compilation per digest whoever asks, a bounded number at once, on threads that may block. What is ready
//! is kept in a bounded map; a component that fell out is mapped again from the compiled-code cache.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lru::LruCache;
use podium_kit::Randomness;
use podium_wire::{Digest, ErrorCode, WireError};
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::bindings::AgentPre;
use crate::code_cache::CodeCache;
use crate::compiler::Compiler;
use crate::guest::GuestState;
use crate::room::{self, MEMORIES_PER_COMPONENT, TABLES_PER_COMPONENT};
use crate::runtime::Runtime;
use crate::world;

/// Agents kept ready: each holds a mapping and a descriptor of its code.
const AGENTS_MAX: NonZeroUsize = NonZeroUsize::new(512).unwrap();
/// Compilations at once: each uses all cores by itself and much memory. Further ones wait, and leave when nobody asks any more.
const COMPILATIONS_MAX: usize = 2;
/// Most unknown imports that an error names.
const NAMED_MAX: usize = 16;

/// A component that is ready to run.
pub struct Agent {
    digest: Digest,
    capabilities: Vec<String>,
    /// Linear memories and tables of each of its guests.
    needs: (u32, u32),
    pre: AgentPre<GuestState>,
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("digest", &self.digest).finish_non_exhaustive()
    }
}

impl Agent {
    /// The SHA-256 of the component.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What it imports and so may be granted, sorted: interfaces of `podium:agent` by name, WASI folded into
    /// `clock`, `files`, `network` and `random`.
    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    /// The places that each of its guests takes, of so many.
    pub(crate) fn places(&self, of: usize) -> u32 {
        room::places(self.needs.0, self.needs.1, of)
    }

    pub(crate) fn pre(&self) -> &AgentPre<GuestState> {
        &self.pre
    }
}

/// A component that cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Its bytes were not given.
    #[error(transparent)]
    Bytes(WireError),
    /// No bytes.
    #[error("the component is empty")]
    Empty,
    /// Something else than WebAssembly.
    #[error("the file is not WebAssembly")]
    NotAComponent,
    /// A core module.
    #[error("the file is a core module, not a component")]
    CoreModule,
    /// Damaged, or it uses what the engine does not have.
    #[error("the component cannot be compiled: {0}")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes more than compiling one may take.
    #[error("the component cannot be compiled here: it {0}")]
    CompileLimit(String),
    /// Imports that this host does not offer.
    #[error("the component imports what this host does not offer: {}", name(.0))]
    UnknownImport(Vec<String>),
    /// Exports that do not fit the world.
    #[error("the component does not export the world `podium:agent/agent`: {}", .0.join(", "))]
    WrongWorld(Vec<String>),
    /// The host failed.
    #[error("the host failed while it compiled the component")]
    Failed,
}

fn name(imports: &[String]) -> String {
    let mut named: Vec<String> = imports.iter().take(NAMED_MAX).map(|import| format!("`{import}`")).collect();
    if imports.len() > NAMED_MAX {
        named.push(format!("and {} more", imports.len() - NAMED_MAX));
    }
    named.join(", ")
}

impl LoadError {
    /// The code it is answered with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Bytes(error) => error.known_code().unwrap_or(ErrorCode::Internal),
            Self::Empty => ErrorCode::EmptyUpload,
            Self::NotAComponent => ErrorCode::NotAComponent,
            Self::CoreModule => ErrorCode::CoreModule,
            Self::Invalid(_) => ErrorCode::InvalidComponent,
            Self::CompileLimit(_) => ErrorCode::CompileLimit,
            Self::UnknownImport(_) => ErrorCode::UnknownImport,
            Self::WrongWorld(_) => ErrorCode::WrongWorld,
            Self::Failed => ErrorCode::Internal,
        }
    }
}

impl From<LoadError> for WireError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Bytes(error) => error,
            other => WireError::new(other.code(), other.to_string()),
        }
    }
}

type Slot = Arc<OnceCell<Arc<Agent>>>;

/// Loads components.
pub(crate) struct Loader {
    shared: Arc<Shared>,
    agents: Mutex<LruCache<Digest, Slot>>,
    compilations: Arc<Semaphore>,
    compiler: Compiler,
}

struct Shared {
    engine: Engine,
    linker: Linker<GuestState>,
    cache: CodeCache,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}

impl Loader {
    pub(crate) fn new(
        engine: &Engine,
        cache: &Path,
        random: &Randomness,
        compiler: Compiler,
    ) -> Result<Self, crate::runtime::StartError> {
        let cache = CodeCache::open(cache, random)?;
        let linker = crate::linker::build(engine).map_err(crate::engine::EngineError::new)?;
        Ok(Self {
            shared: Arc::new(Shared { engine: engine.clone(), linker, cache }),
            agents: Mutex::new(LruCache::new(AGENTS_MAX)),
            compilations: Arc::new(Semaphore::new(COMPILATIONS_MAX)),
            compiler,
        })
    }

    fn slot(&self, digest: &Digest) -> Slot {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(agents.get_or_insert(*digest, Slot::default))
    }

    fn load<'a>(
        &'a self,
        digest: Digest,
        bytes: BoxFuture<'a, Result<Bytes, WireError>>,
    ) -> BoxFuture<'a, Result<Arc<Agent>, LoadError>> {
        self.load_once(digest, bytes).boxed()
    }

    async fn load_once(
        &self,
        digest: Digest,
        bytes: BoxFuture<'_, Result<Bytes, WireError>>,
    ) -> Result<Arc<Agent>, LoadError> {
        let slot = self.slot(&digest);
        let agent = slot.get_or_try_init(|| async {
            if let Some(agent) = self.blocking(move |shared| shared.cached(digest)).await? {
                return Ok(agent);
            }
            let bytes = bytes.await.map_err(LoadError::Bytes)?;
            let _one = self.compilations.acquire().await.map_err(|_| LoadError::Failed)?;
            self.compile(digest, bytes).await
        });
        agent.await.map(Arc::clone)
    }

    async fn compile(&self, digest: Digest, bytes: Bytes) -> Result<Arc<Agent>, LoadError> {
        match &self.compiler {
            Compiler::InProcess => self.blocking(move |shared| shared.compile(digest, &bytes)).await,
            Compiler::Process(process) => {
                check_kind(&bytes)?;
                let code = process.compile(bytes).await?;
                self.blocking(move |shared| shared.keep(digest, code)).await
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let shared = Arc::clone(&self.shared);
        podium_kit::spawn::blocking(move || work(&shared)).await.map_err(|_| LoadError::Failed)?
    }
}

impl Shared {
    fn cached(&self, digest: Digest) -> Result<Option<Arc<Agent>>, LoadError> {
        self.cache.get(&self.engine, &digest).map(|component| self.prepare(digest, &component)).transpose()
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<Arc<Agent>, LoadError> {
        check_kind(bytes)?;
        let component =
            self.cache.compile(&self.engine, &digest, bytes).map_err(|error| LoadError::Invalid(error.into()))?;
        self.prepare(digest, &component)
    }

    fn keep(&self, digest: Digest, code: std::fs::File) -> Result<Arc<Agent>, LoadError> {
        let component =
            self.cache.keep(&self.engine, &digest, code).map_err(|error| LoadError::Invalid(error.into()))?;
        self.prepare(digest, &component)
    }

    fn prepare(&self, digest: Digest, component: &Component) -> Result<Arc<Agent>, LoadError> {
        let imports = world::imports(&self.engine, component);
        if !imports.unknown.is_empty() {
            return Err(LoadError::UnknownImport(imports.unknown));
        }
        let faults = world::export_faults(&self.engine, component);
        if !faults.is_empty() {
            return Err(LoadError::WrongWorld(faults));
        }
        // What is left can only be a function or type that an interface does not have.
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(|error| LoadError::UnknownImport(vec![format!("{error:#}")]))?;
        let pre = AgentPre::new(pre).map_err(|error| LoadError::WrongWorld(vec![format!("{error:#}")]))?;
        let capabilities = imports.capabilities.into_iter().map(str::to_owned).collect();
        // What brings its own code in from outside is refused above; it would count as the largest there may be.
        let needs = component.resources_required();
        let needs = needs.map_or((MEMORIES_PER_COMPONENT, TABLES_PER_COMPONENT), |n| (n.num_memories, n.num_tables));
        Ok(Arc::new(Agent { digest, capabilities, needs, pre }))
    }
}

/// Tells what is not a component by its first 8 bytes: the engine also reads text, which no deployment is.
fn check_kind(bytes: &[u8]) -> Result<(), LoadError> {
    const MAGIC: &[u8] = b"\0asm";
    const CORE_VERSION: &[u8] = &[1, 0, 0, 0];
    match bytes {
        [] => Err(LoadError::Empty),
        _ if !bytes.starts_with(MAGIC) => Err(LoadError::NotAComponent),
        _ if bytes.get(4..8) == Some(CORE_VERSION) => Err(LoadError::CoreModule),
        _ => Ok(()),
    }
}

impl Runtime {
    /// The component with this digest, ready to run. `bytes` is polled only when the component is not compiled
    /// yet; what it gives must have that digest, which the caller has checked.
    ///
    /// # Errors
    /// What is wrong with the component, or the error of `bytes`. Failures are not kept: the next call tries again.
    pub async fn load(
        &self,
        digest: &Digest,
        bytes: impl Future<Output = Result<Bytes, WireError>> + Send,
    ) -> Result<Arc<Agent>, LoadError> {
        self.loader().load(*digest, bytes.boxed()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let check = |bytes: &[u8], expected: ErrorCode| {
            assert_eq!(check_kind(bytes).expect_err("refused").code(), expected);
        };
        check(b"", ErrorCode::EmptyUpload);
        check(b"(component)", ErrorCode::NotAComponent);
        check(b"\0as", ErrorCode::NotAComponent);
        check(b"\0asm\x01\0\0\0", ErrorCode::CoreModule);
        assert!(check_kind(b"\0asm\x0d\0\x01\0").is_ok());
    }

    /// A component that imports instances without anything in them, and exports nothing.
    fn importing(names: &[&str]) -> Vec<u8> {
        let byte = |n: usize| u8::try_from(n).expect("is short");
        let mut imports = vec![byte(names.len())];
        for name in names {
            imports.extend([0, byte(name.len())]);
            imports.extend(name.as_bytes());
            // An instance of type 0.
            imports.extend([5, 0]);
        }
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        // One type: an instance with nothing in it.
        bytes.extend([7, 3, 1, 0x42, 0]);
        bytes.extend([10, byte(imports.len())]);
        bytes.extend(imports);
        bytes
    }

    fn compile(bytes: &[u8]) -> LoadError {
        let folder = tempfile::tempdir().expect("makes");
        let engine = crate::engine::build(10).expect("makes");
        let loader = Loader::new(&engine, &folder.path().join("code"), &Randomness::system(), Compiler::InProcess);
        let loader = loader.expect("opens");
        loader.shared.compile(Digest::from_bytes([0; 32]), bytes).expect_err("is refused")
    }

    #[test]
    fn every_unknown_import_is_named() {
        let error = compile(&importing(&["podium:agent/state@0.1.0", "podium:agent/teleport@0.1.0", "a:b/c@1.0.0"]));
        assert_eq!(error.code(), ErrorCode::UnknownImport);
        assert!(error.to_string().ends_with("`podium:agent/teleport@0.1.0`, `a:b/c@1.0.0`"), "{error}");
    }

    #[test]
    fn a_component_of_another_world_is_refused() {
        let error = compile(&importing(&[]));
        assert_eq!(error.code(), ErrorCode::WrongWorld);
        assert!(error.to_string().contains("`podium:agent/lifecycle@0.1.0` is not exported"), "{error}");
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut bytes = importing(&["podium:agent/state@0.1.0"]);
        bytes.truncate(20);
        assert_eq!(compile(&bytes).code(), ErrorCode::InvalidComponent);
    }

    #[test]
    fn many_unknown_imports_are_counted() {
        let error = LoadError::UnknownImport((0..20).map(|n| format!("a:b/c{n}@1.0.0")).collect()).to_string();
        assert!(error.contains("`a:b/c0@1.0.0`, ") && error.ends_with("and 4 more"), "{error}");
    }
}
