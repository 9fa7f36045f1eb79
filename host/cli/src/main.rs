//! podium: the one binary. Reads the arguments, runs one command, says how it ended.
//!
//! Owns nothing else; each command is a file in `commands/`.

mod args;
mod bisect;
mod build;
mod chat;
mod client;
mod commands;
mod compiler;
mod dev;
mod exit;
mod output;
mod progress;
mod sanitise;
mod sdk;
mod top;
mod whole_file;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A host calls itself to compile: before anything else, and not a command of anyone's.
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == compiler::COMPILE) {
        return podium_coordinator::compile_stdin(arguments);
    }
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(refused) => return exit::usage(&refused),
    };
    let output = output::Output::new(cli.global.json);
    match commands::run(cli, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => exit::report(&failure, &output),
    }
}
