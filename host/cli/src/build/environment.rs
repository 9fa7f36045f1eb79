//! What the build takes from the process's environment, read once.
//!
//! Must never pass the rest on to cargo blindly: variables of an outer cargo or rustup run would
//! steer the guest's build.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Settings of cargo that a user makes for all builds: where it keeps things, how it reaches
/// registries, how it talks.
const CARGO_KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_INCREMENTAL",
];

/// The parts of the environment that matter here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `PATH`.
    pub(crate) path: OsString,
    /// `CARGO_HOME`, else `~/.cargo`.
    pub(crate) cargo_home: PathBuf,
    /// `RUSTUP_HOME`, else `~/.rustup`.
    pub(crate) rustup_home: PathBuf,
    /// `XDG_CACHE_HOME`, else `~/.cache`.
    pub(crate) cache_home: PathBuf,
    /// `PODIUM_WASM_TOOLCHAIN`, when set and not empty.
    pub(crate) forced: Option<String>,
    /// Where Debian's packages are: `/`, another folder in tests.
    pub(crate) system_root: PathBuf,
}

impl Environment {
    /// The environment of this process.
    pub(crate) fn of_process() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = PathBuf::from(set("HOME").unwrap_or_else(|| "/".into()));
        let folder = |name, default: &str| set(name).map_or_else(|| home.join(default), PathBuf::from);
        Self {
            path: set("PATH").unwrap_or_default(),
            cargo_home: folder("CARGO_HOME", ".cargo"),
            rustup_home: folder("RUSTUP_HOME", ".rustup"),
            cache_home: folder("XDG_CACHE_HOME", ".cache"),
            forced: set("PODIUM_WASM_TOOLCHAIN").map(|value| value.to_string_lossy().into_owned()),
            system_root: PathBuf::from("/"),
        }
    }

    /// The first program of that name on `PATH`.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        std::env::split_paths(&self.path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(program))
            .find(|path| path.is_file())
    }

    /// A path of the system, such as `usr/bin/rustc`.
    pub(crate) fn system(&self, path: &str) -> PathBuf {
        self.system_root.join(path)
    }

    /// A command in a folder, without the variables of an outer cargo or rustup run.
    pub(crate) fn command(&self, program: &Path, folder: &Path) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command.current_dir(folder).stdin(std::process::Stdio::null());
        for (name, _) in std::env::vars_os() {
            if steers_cargo(&name) {
                command.env_remove(name);
            }
        }
        command.env("PATH", &self.path).env("CARGO_HOME", &self.cargo_home).env("RUSTUP_HOME", &self.rustup_home);
        command
    }
}

/// True for variables that must not reach the guest's build.
fn steers_cargo(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    if name.starts_with("CARGO") {
        return !CARGO_KEPT.iter().any(|kept| name.starts_with(kept));
    }
    name.starts_with("RUSTUP_TOOLCHAIN")
        || name.starts_with("RUSTFLAGS")
        || name.starts_with("RUSTDOC")
        || name.starts_with("RUSTC")
        || name.starts_with("RUST_TARGET_PATH")
        || matches!(name, "TARGET" | "HOST" | "OUT_DIR" | "PROFILE" | "OPT_LEVEL" | "NUM_JOBS" | "MAKEFLAGS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outer_runs_do_not_leak_in() {
        for name in ["CARGO", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET", "CARGO_PROFILE_RELEASE_LTO", "CARGO_PKG_NAME"] {
            assert!(steers_cargo(OsStr::new(name)), "{name} would leak");
        }
        for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_BOOTSTRAP", "MAKEFLAGS"] {
            assert!(steers_cargo(OsStr::new(name)), "{name} would leak");
        }
        for name in
            ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "HTTPS_PROXY", "PATH", "RUSTUP_HOME"]
        {
            assert!(!steers_cargo(OsStr::new(name)), "{name} is lost");
        }
    }

    #[test]
    fn programs_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        for (place, program) in [(&first, "only"), (&second, "only"), (&second, "other")] {
            std::fs::create_dir_all(place).unwrap();
            std::fs::write(place.join(program), "").unwrap();
        }
        let path = std::env::join_paths([&first, &second]).unwrap();
        let environment = Environment { path, ..Environment::default() };
        assert_eq!(environment.find("only"), Some(first.join("only")));
        assert_eq!(environment.find("other"), Some(second.join("other")));
        assert_eq!(environment.find("none"), None);
    }
}
