//! `podium token`: prints the bearer token of the host on this machine.

use podium_kit::data::{DataError, read_token};
use podium_wire::ErrorCode;
use serde_json::json;

use super::Context;
use crate::exit::{Exit, Failure};

/// Print the host's token
///
/// Clients send it as `Authorization: Bearer TOKEN`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium token
  curl -H \"Authorization: Bearer $(podium token)\" http://127.0.0.1:8090/api/v1/instances")]
pub(crate) struct Token {}

impl Token {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let folder = context.global.data_folder()?;
        let token = match read_token(&folder) {
            Ok(token) if !token.is_empty() => token,
            Ok(_) => return Err(missing(&folder)),
            Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(missing(&folder));
            }
            Err(error) => return Err(error.into()),
        };
        if context.output.is_json() {
            context.output.json(&json!({ "token": token }))
        } else {
            context.output.line(&token)
        }
    }
}

fn missing(folder: &std::path::Path) -> Failure {
    Failure::new(ErrorCode::Unauthorized, format!("there is no token in {}", folder.display()))
        .hint("`podium up` makes it at its first start; `--data` points at another data folder.")
        .exit(Exit::NotFound)
}
