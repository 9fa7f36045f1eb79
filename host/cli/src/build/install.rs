//! `--install-toolchain`: the one place that may download a toolchain's parts.

use std::path::Path;

use super::environment::Environment;
use super::toolchain::Missing;
use super::{BuildError, TARGET, run};

/// Runs `rustup target add wasm32-wasip2` for the toolchain of a folder.
pub(super) fn add_target(
    folder: &Path,
    environment: &Environment,
    progress: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    let Some(rustup) = environment.find("rustup") else {
        return Err(BuildError::NoToolchain(vec![Missing::rustup()]));
    };
    progress(&format!("rustup target add {TARGET}"));
    let mut command = environment.command(&rustup, folder);
    command.args(["target", "add", TARGET]);
    let ended = run::run(command, progress)?;
    if ended.is_success {
        Ok(())
    } else {
        Err(BuildError::Step { step: format!("rustup target add {TARGET}"), output: ended.tail })
    }
}
