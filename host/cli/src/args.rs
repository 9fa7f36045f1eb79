//! The command line: global options, the list of commands, and how help looks.
//!
//! What each command takes stands in its own file.

use std::ffi::OsString;
use std::path::PathBuf;

use anstyle::AnsiColor;
use clap::builder::Styles;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    build, chat, chronicle, completions, config, deploy, deployment, dev, doctor, files, instance, logs, man, mount,
    new, status, token, top, up,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default())
    .error(AnsiColor::Red.on_default().bold());

/// A serverless host for AI agents: agents are WebAssembly components, and nothing they said is ever lost.
#[derive(Debug, Parser)]
#[command(name = "podium", version, styles = STYLES, arg_required_else_help = true)]
#[command(after_help = "Examples:
  podium up                          start a host on this machine
  podium new hello                   begin an agent of your own
  podium dev hello                   work on it: each saved change answers the next message
  podium deploy hello                build and deploy it
  podium instance create hello       make an instance of it
  podium chat INSTANCE 'Good day'    talk to it

Exit codes: 0 ok, 1 agent or server error, 2 usage, 3 not found, 4 unreachable, 5 refused, 75 data folder in use")]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// The server that a command speaks to
    #[arg(
        long,
        global = true,
        env = "PODIUM_URL",
        default_value = "http://127.0.0.1:8090",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) url: String,
    /// True when the command line itself names it.
    #[arg(skip)]
    pub(crate) url_given: bool,
    /// The data folder: the host's, and where clients find its token unless PODIUM_TOKEN is set
    /// [default: $XDG_DATA_HOME/podium, else ~/.local/share/podium]
    #[arg(
        long,
        global = true,
        env = "PODIUM_DATA",
        value_name = "DIR",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    pub(crate) data: Option<PathBuf>,
    /// Print JSON for programs, one document a command
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

impl Global {
    /// The data folder in force.
    pub(crate) fn data_folder(&self) -> Result<PathBuf, podium_kit::data::DataError> {
        match &self.data {
            Some(folder) => Ok(folder.clone()),
            None => podium_kit::data::default_folder(),
        }
    }
}

/// What to do. Commands without a word here say it in their own file, where their whole help stands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Up),
    Token(token::Token),
    New(new::New),
    Build(build::Build),
    Dev(dev::Dev),
    Deploy(deploy::Deploy),
    /// What is deployed
    #[command(subcommand)]
    Deployment(deployment::Deployment),
    /// Make, look at and steer instances
    #[command(subcommand)]
    Instance(instance::Instance),
    Chat(chat::Chat),
    /// Files of an instance's workspace
    #[command(subcommand)]
    Files(files::Files),
    /// The history of an instance's workspace
    #[command(subcommand)]
    Chronicle(chronicle::Chronicle),
    Mount(mount::Mount),
    Logs(logs::Logs),
    /// An instance's configuration
    #[command(subcommand)]
    Config(config::Config),
    Status(status::Status),
    Top(top::Top),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Reads the arguments.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(arguments)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.global.url_given = matches.value_source("url") == Some(ValueSource::CommandLine);
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command) {
            if command.has_subcommands() {
                command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(check);
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.split_whitespace().any(|word| word == command.get_name()), "{}", command.get_name());
                assert!(help.starts_with("Example"), "{}", command.get_name());
            }
        }
        check(&Cli::command());
    }

    #[test]
    fn commands_are_read() {
        let id = "0198c0de-0000-7000-8000-000000000001";
        for line in [
            "podium up --data /tmp/x --listen 127.0.0.1:0".to_owned(),
            "podium up --log-format json --otlp-endpoint http://127.0.0.1:4318".to_owned(),
            "podium token --json".to_owned(),
            "podium build".to_owned(),
            "podium build agents/hello -o hello.wasm --install-toolchain".to_owned(),
            "podium deploy hello.wasm --type hello --version 1.0.0-rc.1".to_owned(),
            "podium deployment list".to_owned(),
            "podium deployment show hello:1.0.0@2b795103".to_owned(),
            "podium instance create hello --config -".to_owned(),
            "podium instance list --json --url http://127.0.0.1:1".to_owned(),
            format!("podium instance info {id}"),
            format!("podium mount {id}"),
            format!("podium mount {id} /mnt/agent --detach"),
            format!("podium mount --unmount {id}"),
            format!("podium instance state {id} /count"),
            format!("podium instance stop {id}"),
            format!("podium instance start {id}"),
            format!("podium instance upgrade {id} 1.3.0"),
            format!("podium instance upgrade {id} hello:1.3.0@2b795103 --on-trial"),
            format!("podium instance cuts {id}"),
            format!("podium instance rewind {id} --to 4"),
            format!("podium instance rewind {id} --to 4 --keep-component"),
            format!("podium instance diff {id} 4 9"),
            format!("podium instance fork {id}"),
            format!("podium instance fork {id} --at 4"),
            format!("podium instance bisect {id} --script true --good 1 --bad 9"),
            format!("podium instance delete {id}"),
            format!("podium instance retry {id} m1"),
            format!("podium instance asks {id}"),
            format!("podium instance answer {id} 7:env"),
            format!("podium instance answer {id} 7#1 --text accept"),
            format!("podium instance discard {id} m1"),
            format!("podium chat {id}"),
            format!("podium chat {id} --reconnect-for 5 -- -1"),
            format!("podium files ls {id}"),
            format!("podium files cat {id} a/b.md"),
            format!("podium files put {id} a/b.md -"),
            format!("podium files rm {id} a/b.md"),
            format!("podium logs {id} -f --level warn"),
            format!("podium config get {id}"),
            format!("podium config set {id} config.json"),
            "podium status".to_owned(),
            "podium top --interval 2 --once".to_owned(),
            "podium doctor".to_owned(),
            "podium dev agents/hello --json".to_owned(),
            "podium new notes --dir /tmp/notes".to_owned(),
            "podium completions zsh".to_owned(),
            "podium man".to_owned(),
            "podium man pages --json".to_owned(),
        ] {
            assert!(parsed(&line).is_ok(), "{line}: {:?}", parsed(&line).err().map(|error| error.to_string()));
        }
    }

    #[test]
    fn a_url_of_the_command_line_is_told_from_the_default() {
        for (line, given) in [
            ("podium dev", false),
            ("podium dev --url http://127.0.0.1:1", true),
            ("podium --url http://127.0.0.1:1 dev", true),
        ] {
            assert_eq!(parsed(line).expect(line).global.url_given, given, "{line}");
        }
    }

    #[test]
    fn what_is_no_name_is_a_mistake_in_the_call() {
        for line in [
            "podium instance create Hello",
            "podium instance info nobody",
            "podium deploy a.wasm --version 1.0",
            "podium deploy a.wasm --type A",
            "podium deployment show hello:1.0.0@xyz",
            "podium up --listen nowhere",
            "podium up --log-format xml",
            "podium instance upgrade 0198c0de-0000-7000-8000-000000000001 1.0",
            "podium logs 0198c0de-0000-7000-8000-000000000001 --level loud",
            "podium unknown",
            "podium completions tcsh",
            "podium new",
        ] {
            assert!(parsed(line).is_err_and(|error| error.use_stderr()), "{line}");
        }
    }
}
