//! `podium man`: the manual's pages, made from the definition that the command line is read with.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::json;

use super::Context;
use crate::args::Cli;
use crate::exit::{Failure, storage_code};
use crate::output::GOOD;

/// Write the manual's pages
///
/// With a folder, a page for each command goes there; without one, podium's own page is printed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium man | man -l -
  podium man ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Where the pages go; made if it is not there
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let pages = pages(Cli::command())?;
        let Some(folder) = &self.folder else {
            let Some((_, page)) = pages.first() else { return Ok(()) };
            if context.output.is_json() {
                return context.output.json(&json!({ "page": page }));
            }
            return context.output.text(page);
        };
        write(&pages, folder).map_err(|error| {
            let message = format!("cannot write the pages to {}: {error}", folder.display());
            Failure::new(storage_code(&error), message).hint("Choose a folder where you may write.")
        })?;
        if context.output.is_json() {
            let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
            return context.output.json(&json!({ "folder": folder, "pages": names }));
        }
        context.output.marked(GOOD, "wrote", &format!("{} pages to {}", pages.len(), folder.display()))
    }
}

/// Every page with its file's name, `podium.1` first.
fn pages(command: clap::Command) -> Result<Vec<(String, String)>, Failure> {
    let mut command = command.disable_help_subcommand(true);
    // Gives each command its full name and the global options.
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages)
        .map_err(|error| Failure::new(podium_wire::ErrorCode::Internal, format!("cannot write a page: {error}")))?;
    Ok(pages)
}

fn add(command: &clap::Command, pages: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let man = clap_mangen::Man::new(command.clone());
    let mut page = Vec::new();
    man.render(&mut page)?;
    // What follows the help is examples here; the generator cannot know.
    let page = String::from_utf8_lossy(&page).replace(".SH EXTRA\n", ".SH EXAMPLES\n");
    pages.push((man.get_filename(), page));
    command.get_subcommands().filter(|below| !below.is_hide_set()).try_for_each(|below| add(below, pages))
}

fn write(pages: &[(String, String)], folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    pages.iter().try_for_each(|(name, page)| std::fs::write(folder.join(name), page))
}
