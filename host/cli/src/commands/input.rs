//! Reading what a command is given: a file, or stdin for `-`.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Map, Value};

use crate::exit::Failure;

/// Most bytes of a configuration that are read: far more than a server takes.
const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads a JSON object.
pub(crate) fn json_object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let mut bytes = Vec::new();
    let read = if is_stdin(path) {
        io::stdin().lock().take(CONFIG_BYTES_MAX).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(CONFIG_BYTES_MAX).read_to_end(&mut bytes))
    };
    read.map_err(|error| unreadable(path, &error))?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::usage(format!("{} is not a JSON object", name(path)))),
        Err(error) => Err(Failure::usage(format!("{} is not JSON: {error}", name(path)))),
    }
}

/// True for `-`.
pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file that cannot be read is a mistake in the call.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {error}", name(path))).hint("Check the path.")
}

/// How a source is called in messages.
fn name(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

/// Stdin as a file, which it is on every system that we run on.
pub(crate) fn stdin() -> Result<tokio::fs::File, Failure> {
    let file = std::io::stdin().as_fd().try_clone_to_owned();
    let file = file.map_err(|error| unreadable(Path::new("-"), &error))?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(file)))
}

#[cfg(test)]
mod tests {
    use podium_wire::ErrorCode;

    use super::*;

    #[test]
    fn only_an_object_is_a_configuration() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("written");
            json_object(&path)
        };
        assert_eq!(read(r#"{"a":1}"#).expect("an object").len(), 1);
        for bad in ["", "[]", "{", "null"] {
            assert_eq!(read(bad).expect_err(bad).code(), Some(ErrorCode::Usage));
        }
        assert_eq!(json_object(&folder.path().join("none")).expect_err("missing").code(), Some(ErrorCode::Usage));
    }
}
