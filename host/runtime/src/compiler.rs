//! Compiling a component in a process of its own: bounded in time, memory and size, and cancelled by killing it.
//!
//! The compiler cannot be stopped from within, and a component decides how long it works. So the host calls its own
//! binary again, gives it the bytes and takes the code; whatever the compiler does, only that process does it. Must
//! never wait for it longer than its limits say, nor leave it running when nobody wants the code any more.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::MemfdFlags;
use rustix::process::{Resource, Rlimit, Signal};

use crate::engine;
use crate::load::LoadError;

/// Processor time of one compilation unless the operator says otherwise: ten times what the largest real component
/// takes (Python, 42 MB of code).
pub const COMPILE_CPU_DEFAULT: Duration = Duration::from_secs(300);
/// Wall time, as a multiple of processor time: it runs at low priority, and may have to wait for the cores.
const WALL_FACTOR: u32 = 2;
/// Memory that it may write to. The allocator sets 1 GiB of it aside at once.
const MEMORY_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Bytes of compiled code: eight for each byte of the largest component.
const CODE_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Descriptors: it opens nothing but what it is given.
const DESCRIPTORS_MAX: u64 = 64;
/// How much it gives way to others: turns and health come first.
const NICENESS: i32 = 10;
/// Bytes of what it says that are kept.
const SAID_BYTES_MAX: u64 = 16 * 1024;
/// Time between two looks at a process that has closed its output and is about to end.
const REAP_STEP: Duration = Duration::from_millis(1);

/// How it ends when the component cannot be compiled; the reason is on stderr.
const EXIT_INVALID: u8 = 1;
/// How it ends when it could not even begin.
const EXIT_FAILED: u8 = 2;
/// How a Rust program ends that panicked.
const EXIT_PANICKED: i32 = 101;

/// What the runtime says when an allocation fails, before it aborts.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// How components are compiled.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// In this process, without bounds: for benchmarks and tests of trusted components.
    InProcess,
    /// In a process of its own.
    Process(CompilerProcess),
}

/// A program that calls [`compile_stdin`], and how long it may compute.
#[derive(Debug, Clone)]
pub struct CompilerProcess {
    /// The program.
    pub program: PathBuf,
    /// What makes it call [`compile_stdin`].
    pub argument: OsString,
    /// Processor time of one compilation.
    pub cpu: Duration,
}

/// The running process, and whether it is still wanted.
#[derive(Debug, Default)]
struct Running {
    child: Option<Child>,
    unwanted: bool,
}

/// Kills the process when nobody waits for it any more.
#[derive(Debug, Default, Clone)]
struct Handle(Arc<Mutex<Running>>);

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        let mut running = self.lock();
        running.unwanted = true;
        if let Some(child) = &mut running.child {
            // One that has ended is not signalled: its id is still its own until it is waited for here.
            let _ = child.kill();
        }
    }
}

struct StopAtDrop(Handle);

impl Drop for StopAtDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl CompilerProcess {
    /// Compiles a component; the code, from its beginning. Dropping the future kills the process.
    pub(crate) async fn compile(&self, bytes: Bytes) -> Result<File, LoadError> {
        let handle = Handle::default();
        let _stop = StopAtDrop(handle.clone());
        let (process, wall) = (self.clone(), self.cpu.saturating_mul(WALL_FACTOR));
        let ended = podium_kit::spawn::blocking(move || process.run(&handle, &bytes));
        match tokio::time::timeout(wall, ended).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(LoadError::Failed),
            Err(_) => Err(LoadError::CompileLimit(format!("took longer than {} s", wall.as_secs()))),
        }
    }

    fn run(&self, handle: &Handle, bytes: &[u8]) -> Result<File, LoadError> {
        let failed = |error: io::Error| {
            tracing::error!(%error, "the compiler cannot be run");
            LoadError::Failed
        };
        let mut code = memory("code").map_err(failed)?;
        let (said, status) = self.call(handle, bytes, &code).map_err(failed)?;
        let Some(status) = status else { return Err(LoadError::Failed) };
        self.read(status, &said)?;
        code.rewind().map_err(failed)?;
        Ok(code)
    }

    /// Calls it and waits for its end; none when it was not wanted any more.
    fn call(&self, handle: &Handle, bytes: &[u8], code: &File) -> io::Result<(String, Option<ExitStatus>)> {
        let mut component = memory("component")?;
        component.write_all(bytes)?;
        component.rewind()?;
        let mut command = Command::new(&self.program);
        command.arg0("podium").arg(&self.argument);
        command.arg(self.cpu.as_secs().to_string()).arg(std::process::id().to_string());
        command.env_clear().current_dir("/");
        command.stdin(component).stdout(code.try_clone()?).stderr(Stdio::piped());
        let stderr = {
            let mut running = handle.lock();
            if running.unwanted {
                return Ok((String::new(), None));
            }
            let mut child = command.spawn()?;
            let stderr = child.stderr.take();
            running.child = Some(child);
            stderr
        };
        // Its end closes the pipe; until then this thread waits here, and the process can be killed.
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            let read = stderr.by_ref().take(SAID_BYTES_MAX).read_to_end(&mut said);
            let rest = read.and_then(|_| io::copy(&mut stderr, &mut io::sink()));
            rest.map(drop).unwrap_or_else(|error| tracing::debug!(%error, "the compiler's words are lost"));
        }
        let status = loop {
            let ended = handle.lock().child.as_mut().map(Child::try_wait).transpose()?;
            match ended {
                Some(Some(status)) => break status,
                Some(None) => std::thread::sleep(REAP_STEP),
                None => return Ok((String::new(), None)),
            }
        };
        let unwanted = handle.lock().unwanted;
        Ok((String::from_utf8_lossy(&said).into_owned(), (!unwanted).then_some(status)))
    }

    /// What its end means.
    fn read(&self, status: ExitStatus, said: &str) -> Result<(), LoadError> {
        let signal = status.signal().map(Signal::from_named_raw);
        match (status.code(), signal.flatten()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) if code == i32::from(EXIT_INVALID) => Err(LoadError::Invalid(said.trim().into())),
            (_, Some(Signal::XCPU)) => {
                let seconds = self.cpu.as_secs();
                Err(LoadError::CompileLimit(format!("took more than {seconds} s of processor time")))
            }
            // Nobody here kills one that is still wanted; whoever runs out of memory on this machine does.
            (_, Some(Signal::KILL)) => {
                tracing::warn!("the compiler was killed by the system");
                Err(LoadError::CompileLimit("was killed by the system, which most likely has too little memory".into()))
            }
            (_, Some(Signal::XFSZ)) => {
                Err(LoadError::CompileLimit(format!("made more than {CODE_BYTES_MAX} bytes of code")))
            }
            _ if said.contains(OUT_OF_MEMORY) => {
                Err(LoadError::CompileLimit(format!("took more than {MEMORY_BYTES_MAX} bytes of memory")))
            }
            (Some(EXIT_PANICKED), _) | (None, Some(_)) => {
                tracing::warn!(%status, said, "the compiler crashed");
                Err(LoadError::Invalid("the compiler crashed on it".into()))
            }
            _ => {
                tracing::error!(%status, said, "the compiler could not begin");
                Err(LoadError::Failed)
            }
        }
    }
}

/// A file that is in memory only, closed when a program is called unless it is given to it.
fn memory(name: &str) -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// The other side: compiles the component on stdin to stdout, within limits that hold for this process from here on.
/// `arguments` are those behind [`CompilerProcess::argument`]. To be called before anything else.
pub fn compile_stdin(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut numbers = arguments.into_iter().map(|number| number.to_str()?.parse().ok());
    let (Some(Some(cpu)), Some(Some(host))) = (numbers.next(), numbers.next()) else {
        return said("this is called by a host only", EXIT_FAILED);
    };
    if let Err(error) = confine(cpu, host) {
        return said(&format!("the limits cannot be set: {error}"), EXIT_FAILED);
    }
    let mut bytes = Vec::new();
    if let Err(error) = io::stdin().lock().read_to_end(&mut bytes) {
        return said(&format!("the component cannot be read: {error}"), EXIT_FAILED);
    }
    let engine = match engine::build_compiler() {
        Ok(engine) => engine,
        Err(error) => return said(&error.to_string(), EXIT_FAILED),
    };
    let code = match engine.precompile_component(&bytes) {
        Ok(code) => code,
        Err(error) => return said(&error.to_string(), EXIT_INVALID),
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&code).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => said(&format!("the code cannot be written: {error}"), EXIT_FAILED),
    }
}

/// Gives up what a compilation has no use for.
fn confine(cpu_seconds: u64, host: u64) -> rustix::io::Result<()> {
    // With the host ends what it asked for.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before; then nobody sends the signal any more.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent.map(u64::from) != Some(host) {
        return Err(rustix::io::Errno::SRCH);
    }
    let limit = |resource, current, maximum| {
        rustix::process::setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Cpu, cpu_seconds, cpu_seconds.saturating_add(1))?;
    limit(Resource::Data, MEMORY_BYTES_MAX, MEMORY_BYTES_MAX)?;
    limit(Resource::Fsize, CODE_BYTES_MAX, CODE_BYTES_MAX)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX, DESCRIPTORS_MAX)?;
    rustix::process::nice(NICENESS).map(drop)
}

/// Says why, and how it ends.
fn said(why: &str, exit: u8) -> ExitCode {
    // Whoever reads it has gone, if anything.
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(exit)
}

#[cfg(test)]
mod tests {
    use podium_wire::ErrorCode;

    use super::*;

    /// A shell that does this in the compiler's place.
    fn shell(folder: &tempfile::TempDir, script: &str, seconds: u64) -> CompilerProcess {
        let program = folder.path().join("compiler");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("sets");
        CompilerProcess { program, argument: "compile".into(), cpu: Duration::from_secs(seconds) }
    }

    async fn end(script: &str) -> Result<String, LoadError> {
        let folder = tempfile::tempdir().expect("makes");
        let mut code = shell(&folder, script, 300).compile(Bytes::from_static(b"a component")).await?;
        let mut text = String::new();
        code.read_to_string(&mut text).expect("reads");
        Ok(text)
    }

    #[tokio::test]
    async fn what_it_writes_is_the_code() {
        assert_eq!(end("printf '%s %s ' \"$1\" \"$2\"; cat").await.expect("compiles"), "compile 300 a component");
    }

    #[tokio::test]
    async fn each_end_has_its_meaning() {
        for (script, code, words) in [
            ("echo it is bad >&2; exit 1", ErrorCode::InvalidComponent, "it is bad"),
            ("kill -XCPU $$", ErrorCode::CompileLimit, "300 s of processor time"),
            ("kill -KILL $$", ErrorCode::CompileLimit, "killed by the system"),
            ("kill -XFSZ $$", ErrorCode::CompileLimit, "bytes of code"),
            ("echo memory allocation of 9 bytes failed >&2; kill -ABRT $$", ErrorCode::CompileLimit, "of memory"),
            ("kill -SEGV $$", ErrorCode::InvalidComponent, "crashed"),
            ("exit 101", ErrorCode::InvalidComponent, "crashed"),
            ("exit 2", ErrorCode::Internal, "failed"),
        ] {
            let error = end(script).await.expect_err(script);
            assert_eq!(error.code(), code, "{script}: {error}");
            assert!(error.to_string().contains(words), "{script}: {error}");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let folder = tempfile::tempdir().expect("makes");
        let pid_file = folder.path().join("pid");
        let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid_file.display());
        let gone = |pid: &str| !std::path::Path::new(&format!("/proc/{pid}")).exists();
        let until = async |what: &str, look: &dyn Fn() -> bool| {
            for _ in 0..3000 {
                if look() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{what}");
        };
        // By its own time.
        let error = shell(&folder, &script, 1).compile(Bytes::new()).await.expect_err("is too slow");
        assert_eq!(error.code(), ErrorCode::CompileLimit);
        let pid = std::fs::read_to_string(&pid_file).expect("it ran");
        until("it still runs", &|| gone(pid.trim())).await;
        // Because nobody waits for it.
        std::fs::remove_file(&pid_file).expect("removes");
        let process = shell(&folder, &script, 1000);
        let asked = podium_kit::spawn::task("asks", async move { process.compile(Bytes::new()).await.map(drop) });
        until("it does not begin", &|| pid_file.exists()).await;
        asked.abort();
        let pid = std::fs::read_to_string(&pid_file).expect("it ran");
        until("it still runs", &|| gone(pid.trim())).await;
    }
}
