//! `podium completions`: what a shell needs to complete commands.

use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;
use serde_json::json;

use super::Context;
use crate::args::Cli;
use crate::exit::Failure;

/// Print a script that completes commands in your shell
///
/// New shells complete once the script is where they look for it, as in the examples.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium completions bash > ~/.local/share/bash-completion/completions/podium
  podium completions zsh > \"${fpath[1]}/_podium\"
  podium completions fish > ~/.config/fish/completions/podium.fish")]
pub(crate) struct Completions {
    /// The shell
    shell: Known,
}

/// The shells that are tried in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (name, shell) = match self.shell {
            Known::Bash => ("bash", Shell::Bash),
            Known::Zsh => ("zsh", Shell::Zsh),
            Known::Fish => ("fish", Shell::Fish),
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "podium", &mut script);
        if context.output.is_json() {
            return context.output.json(&json!({ "shell": name, "script": String::from_utf8_lossy(&script) }));
        }
        context.output.bytes(&script)
    }
}
