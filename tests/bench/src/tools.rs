//! Where `peers/install.sh` puts what the benchmark compares with; says what is missing, never installs.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use podium_it::root;

/// What to do about anything that is missing.
const MEND: &str = "tests/bench/peers/install.sh";

/// The folder of the peers' sources.
pub fn peers() -> PathBuf {
    root().join("tests/bench/peers")
}

/// What the script built and installed from PyPI.
fn built() -> PathBuf {
    let target = podium_it::host::binary().ancestors().nth(2).map_or_else(|| root().join("target"), PathBuf::from);
    target.join("bench-tools")
}

fn there(what: &str, path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() { Ok(path) } else { Err(format!("{what} is not installed: run {MEND}")) }
}

/// Bun.
pub fn bun() -> Result<PathBuf, String> {
    there("Bun", peers().join("node_modules/@oven/bun-linux-x64/bin/bun"))
}

/// workerd.
pub fn workerd() -> Result<PathBuf, String> {
    there("workerd", peers().join("node_modules/@cloudflare/workerd-linux-64/bin/workerd"))
}

/// The wasmtime command.
pub fn wasmtime() -> Result<PathBuf, String> {
    there("wasmtime", built().join("wasmtime"))
}

/// The machine's own CPython: the interpreter itself, not a shim that looks for it at every start.
pub fn python() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let ask = || {
        let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        let output = output.map_err(|error| format!("python3: {error}"))?;
        there("python3", PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    };
    FOUND.get_or_init(ask).clone()
}

/// The benchmark's agent in another language: `javascript` or `python`.
pub fn component(language: &str) -> Result<PathBuf, String> {
    there(&format!("the agent in {language}"), built().join(format!("streamer-{language}.wasm")))
}

/// The machine's own git.
pub fn git() -> Result<PathBuf, String> {
    there("git", PathBuf::from("/usr/bin/git"))
}

/// jj.
pub fn jj() -> Result<PathBuf, String> {
    there("jj", built().join("jj/bin/jj"))
}

/// restic.
pub fn restic() -> Result<PathBuf, String> {
    there("restic", built().join("restic/usr/bin/restic"))
}

/// perf, which samples where processor time goes.
pub fn perf() -> Result<PathBuf, String> {
    let path = PathBuf::from("/usr/bin/perf");
    if path.exists() { Ok(path) } else { Err("perf is not installed (Debian: linux-perf)".to_owned()) }
}
