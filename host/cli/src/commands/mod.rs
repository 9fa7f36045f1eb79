//! The commands: a file each. Here is only the way from the arguments to them.

mod asks;
mod bisect;
pub(crate) mod build;
pub(crate) mod chat;
pub(crate) mod chronicle;
pub(crate) mod completions;
pub(crate) mod config;
mod cuts;
pub(crate) mod deploy;
pub(crate) mod deployment;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod files;
mod input;
pub(crate) mod instance;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod mount;
pub(crate) mod new;
mod portable;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod upgrade;

use crate::args::{Cli, Command, Global};
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// What every command has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The global options.
    pub(crate) global: &'a Global,
    /// Where it prints.
    pub(crate) output: &'a Output,
}

impl Context<'_> {
    /// The server that the options name.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(self.global)
    }
}

/// Runs the command.
pub(crate) fn run(cli: Cli, output: &Output) -> Result<(), Failure> {
    let context = Context { global: &cli.global, output };
    match cli.command {
        Command::Up(up) => up.run(context),
        Command::Token(token) => token.run(context),
        Command::New(new) => new.run(context),
        Command::Build(build) => build.run(context),
        Command::Dev(dev) => dev.run(context),
        Command::Deploy(deploy) => deploy.run(context),
        Command::Deployment(deployment) => deployment.run(context),
        Command::Instance(instance) => instance.run(context),
        Command::Chat(chat) => chat.run(context),
        Command::Files(files) => files.run(context),
        Command::Chronicle(chronicle) => chronicle.run(context),
        Command::Mount(mount) => mount.run(context),
        Command::Logs(logs) => logs.run(context),
        Command::Config(config) => config.run(context),
        Command::Status(status) => status.run(context),
        Command::Top(top) => top.run(context),
        Command::Doctor(doctor) => doctor.run(context),
        Command::Completions(completions) => completions.run(context),
        Command::Man(man) => man.run(context),
    }
}
