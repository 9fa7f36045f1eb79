//! A running `podium up`: started on a free port over a data folder, killed by its own process id.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::{Cli, Client, PATIENCE};

/// A data folder that outlives the hosts that run on it, and goes away with its last owner.
#[derive(Clone)]
pub struct Data(Arc<TempDir>);

impl Data {
    /// An empty one. `PODIUM_TEST_TMP` moves it, for instance to a memory file system.
    pub fn new() -> Self {
        let builder = |home: Option<std::ffi::OsString>| match home {
            Some(home) => tempfile::Builder::new().prefix("podium-it-").tempdir_in(home),
            None => tempfile::Builder::new().prefix("podium-it-").tempdir(),
        };
        Self(Arc::new(builder(std::env::var_os("PODIUM_TEST_TMP")).expect("a temporary folder")))
    }

    /// The folder that the host gets.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// A folder beside it, for a story's own files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.0.path().join("scratch");
        std::fs::create_dir_all(&path).expect("a scratch folder");
        path
    }
}

impl Default for Data {
    fn default() -> Self {
        Self::new()
    }
}

/// The binary under test: `PODIUM_BIN`, else the one beside this test, else the one of the `ci` profile.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PODIUM_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().expect("a path of this test");
    let beside = exe.ancestors().nth(2).map(|folder| folder.join("podium"));
    let ci = crate::root().join("target/ci/podium");
    beside.filter(|path| path.exists()).unwrap_or(ci)
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process can be signalled");
}

/// What Ctrl-C on its terminal would do to a process.
pub fn interrupt(child: &Child) {
    signal(child, Signal::INT);
}

/// A host; dropped, it is killed.
pub struct Host {
    child: Child,
    data: Data,
    url: String,
    log: PathBuf,
}

/// How a start that did not come up ended.
#[derive(Debug)]
pub struct NotStarted {
    /// Its exit.
    pub status: ExitStatus,
    /// What it said.
    pub stderr: String,
}

impl Host {
    /// Starts one over a new data folder.
    pub async fn start() -> Self {
        Self::start_on(&Data::new()).await
    }

    /// Starts one over this data folder and waits until it listens.
    pub async fn start_on(data: &Data) -> Self {
        Self::try_start_on(data).await.unwrap_or_else(|not| panic!("the host did not start: {not:?}"))
    }

    /// The same, where it may refuse to start.
    pub async fn try_start_on(data: &Data) -> Result<Self, NotStarted> {
        Self::spawn(data, &data.path(), "127.0.0.1:0").await
    }

    /// Starts one over a new data folder with further arguments and variables.
    pub async fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = Data::new();
        Self::try_start_with(&data, arguments, variables)
            .await
            .unwrap_or_else(|not| panic!("the host did not start: {not:?}"))
    }

    /// The same over this folder, where it may refuse to start.
    pub async fn try_start_with(
        data: &Data,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, NotStarted> {
        Self::spawn_with(data, &data.path(), "127.0.0.1:0", arguments, variables).await
    }

    /// Starts one over a new data folder with this hard limit of descriptors.
    pub async fn start_with_descriptors(limit: u64) -> Self {
        let data = Data::new();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &limit.to_string()]).arg(binary());
        let started = Self::spawn_by(command, &data, &data.path(), "127.0.0.1:0", &[], &[]).await;
        started.unwrap_or_else(|not| panic!("the host did not start: {not:?}"))
    }

    /// Starts one over any folder, listening on this address.
    pub async fn spawn(data: &Data, folder: &Path, address: &str) -> Result<Self, NotStarted> {
        Self::spawn_with(data, folder, address, &[], &[]).await
    }

    async fn spawn_with(
        data: &Data,
        folder: &Path,
        address: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, NotStarted> {
        Self::spawn_by(Command::new(binary()), data, folder, address, arguments, variables).await
    }

    async fn spawn_by(
        mut command: Command,
        data: &Data,
        folder: &Path,
        address: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self, NotStarted> {
        let log = data.scratch().join(format!("host-{}.log", crate::message_id()));
        command
            .args(["up", "--listen", address, "--data"])
            .arg(folder)
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log file"));
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, line) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = String::new();
            // An error and the end of the stream mean the same here: no line came.
            let read = reader.read_line(&mut line).unwrap_or(0);
            let _ = sender.send((read > 0).then_some(line));
            // The rest is read away, so that the host never blocks on a full pipe.
            let _ = reader.read_to_end(&mut Vec::new());
        });
        let line = tokio::time::timeout(PATIENCE, line).await;
        let Ok(Ok(Some(line))) = line else {
            let waited = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait().expect("the host can be waited for") {
                    break status;
                }
                if waited.elapsed() > PATIENCE {
                    let _ = child.kill();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            return Err(NotStarted { status, stderr: std::fs::read_to_string(&log).unwrap_or_default() });
        };
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the first line is `{line}`"))
            .to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "it listens on {url}");
        Ok(Self { child, data: data.clone(), url, log })
    }

    /// The data folder.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the process is there").count()
    }

    /// The token in its data folder.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.data.path().join("token")).expect("a token").trim().to_owned()
    }

    /// A client with the right token.
    pub fn client(&self) -> Client {
        Client::new(&self.url, Some(self.token()))
    }

    /// The command line, pointed at this host.
    pub fn cli(&self) -> Cli {
        Cli::new(&self.data).url(&self.url)
    }

    /// What it wrote on stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, to_host: Signal) {
        signal(&self.child, to_host);
    }

    /// `kill -9`, at once, and waits until it is gone.
    pub fn kill(mut self) -> Data {
        self.child.kill().expect("the host can be killed");
        self.child.wait().expect("the host can be waited for");
        self.data.clone()
    }

    /// Stops it in its time so that nothing runs, without ending it.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it run on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to stop and waits for its end; answers how it ended and how long that took.
    pub async fn stop(self) -> (ExitStatus, Duration) {
        let (status, took, _) = self.stop_with_log().await;
        (status, took)
    }

    /// The same with all that it wrote on stderr.
    pub async fn stop_with_log(mut self) -> (ExitStatus, Duration, String) {
        let start = Instant::now();
        self.terminate();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the host can be waited for") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "the host does not stop\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        (status, start.elapsed(), self.log())
    }

    /// Kills it and starts another over the same folder.
    pub async fn crash(self) -> Self {
        let data = self.kill();
        Self::start_on(&data).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- the host's last words ---\n{}\n---", tail.join("\n"));
        }
    }
}
