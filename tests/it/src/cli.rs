//! The command line as a person or a script uses it: arguments in, exit code and texts out.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::Data;
use crate::host::binary;

/// What a terminal's line is given to: the same on every machine, whatever its user's shell is.
const SHELL: &str = "/bin/sh";

/// How `podium` is called: with this environment and no other of its own variables.
#[derive(Clone)]
pub struct Cli {
    data: Data,
    environment: Vec<(OsString, OsString)>,
    folder: PathBuf,
}

/// How a call ended.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote for programs.
    pub stdout: String,
    /// What it wrote for people.
    pub stderr: String,
}

impl Output {
    /// The standard output of a call that must have ended well.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.stdout
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A call that must have failed with this exit code, naming this error code.
    #[track_caller]
    pub fn failed(&self, code: i32, error: podium_wire::ErrorCode) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(&error.to_string()), "no {error} in {self:?}");
    }
}

impl Cli {
    /// A caller that knows this data folder.
    pub fn new(data: &Data) -> Self {
        let home = data.scratch();
        let environment = vec![("PODIUM_DATA".into(), data.path().into()), ("HOME".into(), home.clone().into())];
        Self { data: data.clone(), environment, folder: home }
    }

    /// With `PODIUM_URL`.
    pub fn url(self, url: &str) -> Self {
        self.env("PODIUM_URL", url)
    }

    /// With one more variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Run in this folder.
    pub fn folder(mut self, folder: PathBuf) -> Self {
        self.folder = folder;
        self
    }

    /// The data folder's owner.
    pub fn data(&self) -> &Data {
        &self.data
    }

    fn command(&self, program: &std::path::Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for name in ["PODIUM_URL", "PODIUM_TOKEN", "PODIUM_DATA", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.folder);
        command
    }

    /// Calls it without input.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, b"").await
    }

    /// Calls it with this on its standard input.
    pub async fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(&binary(), arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_vec();
        let call = move || {
            let mut child = command.spawn().expect("podium starts");
            let mut stdin = child.stdin.take().expect("stdin is a pipe");
            // Written beside the reading of the output; a program that does not read it may end first.
            let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
            let output = child.wait_with_output().expect("podium ends");
            writer.join().expect("the writer ends");
            Output {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        };
        tokio::time::timeout(crate::PATIENCE * 20, tokio::task::spawn_blocking(call))
            .await
            .unwrap_or_else(|_| panic!("podium {arguments:?} does not end"))
            .expect("the call did not panic")
    }

    /// Starts it and leaves its standard streams to the story.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(&binary(), arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("podium starts")
    }

    /// Starts a shell line on a terminal of its own, `$PODIUM` being the binary. What is written to its input is typed. A Ctrl-C
    /// goes to the shell, too: a line whose exit status counts begins with `exec`.
    pub fn start_on_terminal(&self, line: &str) -> Child {
        // A story that fails must not leave a terminal behind.
        let seconds = (crate::PATIENCE * 2).as_secs().to_string();
        let arguments = ["--foreground", &seconds, "script", "-qefc", line, "/dev/null"];
        let mut command = self.command(std::path::Path::new("timeout"), &arguments);
        command.env("TERM", "xterm-256color").env("PODIUM", binary()).env("SHELL", SHELL);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("script, of util-linux, starts")
    }

    /// Runs a shell line on a terminal, and types these keys each time that their text has appeared anew; answers all that the
    /// terminal showed.
    pub async fn typed(&self, line: &str, keys: &[(&'static str, &'static str)]) -> String {
        let mut child = self.start_on_terminal(line);
        let keys = keys.to_vec();
        let talk = move || {
            let mut input = child.stdin.take().expect("stdin is a pipe");
            let mut output = child.stdout.take().expect("stdout is a pipe");
            let (mut seen, mut from, mut piece) = (Vec::new(), 0, [0; 4096]);
            let mut keys = keys.into_iter().peekable();
            while let Ok(length @ 1..) = output.read(&mut piece) {
                seen.extend_from_slice(&piece[..length]);
                while let Some((wanted, key)) = keys.peek()
                    && let Some(at) = seen[from..].windows(wanted.len()).position(|part| part == wanted.as_bytes())
                {
                    from += at + wanted.len();
                    input.write_all(key.as_bytes()).and_then(|()| input.flush()).expect("the terminal takes keys");
                    keys.next();
                }
            }
            drop(child.wait());
            String::from_utf8_lossy(&seen).into_owned()
        };
        tokio::task::spawn_blocking(talk).await.expect("the talk did not panic")
    }

    /// Calls it on a terminal of its own and answers all that the terminal showed.
    pub async fn on_terminal(&self, arguments: &[&str]) -> Output {
        let quoted: Vec<String> = arguments.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
        let line = format!("{} {}", binary().display(), quoted.join(" "));
        let mut command = self.command(std::path::Path::new("script"), &["-qefc", &line, "/dev/null"]);
        command
            .env("TERM", "xterm-256color")
            .env("SHELL", SHELL)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let call = move || {
            let output = command.output().expect("script, of util-linux, starts");
            Output {
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }
        };
        tokio::task::spawn_blocking(call).await.expect("the call did not panic")
    }
}
