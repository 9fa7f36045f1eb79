//! Running a child process to its end.
//!
//! Owns how output is passed on and how much of it is kept for an error. Must never hold more of
//! it than [`TAIL_LINES_MAX`] lines, or leave the child running when this process is killed.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

use super::BuildError;

/// Lines of output kept for an error: a compiler's last few messages.
const TAIL_LINES_MAX: usize = 60;

/// Longest line passed on, bytes; the rest of a longer one comes as further lines.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Most bytes of a command's answer: cargo's JSON messages of a few hundred crates.
const ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How a process ended.
pub(super) struct Ended {
    /// True for exit code 0.
    pub(super) is_success: bool,
    /// What it answered on stdout.
    pub(super) answer: Vec<u8>,
    /// The last lines it wrote to stderr.
    pub(super) tail: String,
}

/// Runs a command; each line it writes to stderr goes to `progress` as it comes.
pub(super) fn run(mut command: Command, progress: &mut dyn FnMut(&str)) -> Result<Ended, BuildError> {
    let doing = format!("running {}", command.get_program().to_string_lossy());
    // Stdout goes through a file: two pipes read by one thread could block each other.
    let mut stdout = tempfile::tempfile().map_err(BuildError::io(&doing))?;
    let for_child = stdout.try_clone().map_err(BuildError::io(&doing))?;
    end_with_us(&mut command);
    let mut child = command.stdout(for_child).stderr(Stdio::piped()).spawn().map_err(BuildError::io(&doing))?;
    let mut tail = VecDeque::new();
    if let Some(stderr) = child.stderr.take() {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            match read {
                Ok(0) => break,
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    let text = text.trim_end();
                    progress(text);
                    if tail.len() == TAIL_LINES_MAX {
                        tail.pop_front();
                    }
                    tail.push_back(text.to_owned());
                }
                Err(source) => {
                    // Nobody reads any more: without this the child could wait for ever.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(BuildError::Io { doing, source });
                }
            }
        }
    }
    let status = child.wait().map_err(BuildError::io(&doing))?;
    let mut answer = Vec::new();
    stdout.rewind().map_err(BuildError::io(&doing))?;
    stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(BuildError::io(&doing))?;
    Ok(Ended { is_success: status.success(), answer, tail: Vec::from(tail).join("\n") })
}

/// The kernel kills the child with the thread that starts it, and so with this process: a build that nobody waits for
/// would go on for minutes. What the child has started itself ends by its own.
#[expect(unsafe_code, reason = "there is no safe form of what runs between fork and exec")]
fn end_with_us(command: &mut Command) {
    let us = getpid();
    let ask = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Gone before the question: nobody would send the signal any more.
        if getppid() == Some(us) { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotConnected)) }
    };
    // SAFETY: it makes two system calls, takes no lock and allocates nothing; an error of a kind alone is no allocation either.
    unsafe { command.pre_exec(ask) };
}

/// Runs a command that answers in a line; none when it cannot be run or fails.
pub(super) fn ask(command: Command) -> Option<String> {
    let ended = run(command, &mut |_| ()).ok()?;
    let answer = String::from_utf8(ended.answer).ok()?;
    ended.is_success.then(|| answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn lines_come_through_and_the_tail_stays_short() {
        let mut lines = 0;
        let script = "i=0; while [ $i -lt 500 ]; do echo line $i >&2; i=$((i+1)); done; echo answer; exit 3";
        let ended = run(shell(script), &mut |_| lines += 1).unwrap();
        assert_eq!((ended.is_success, lines, ended.answer.as_slice()), (false, 500, b"answer\n".as_slice()));
        assert!(ended.tail.starts_with("line 440\n") && ended.tail.ends_with("line 499"), "{}", ended.tail);
    }

    #[test]
    fn asking_answers_only_on_success() {
        assert_eq!(ask(shell("echo yes")).as_deref(), Some("yes"));
        assert_eq!(ask(shell("echo no; exit 1")), None);
        assert_eq!(ask(Command::new("/nowhere/at/all")), None);
    }
}
