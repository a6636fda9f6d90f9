//! Shell completions and man pages.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Args;
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::settings::Settings;

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut command = Args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    output::bytes(&script)
}

/// The program's page to standard output, or the pages of all commands into a folder.
pub(super) fn man(settings: &Settings, folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command())
            .render(&mut page)
            .map_err(Failure::Output)?;
        return output::bytes(&page);
    };
    let unusable = |error| {
        let folder = folder.display();
        Failure::Other(format!("the pages cannot be written to {folder}: {error}"))
    };
    std::fs::create_dir_all(folder).map_err(unusable)?;
    clap_mangen::generate_to(Args::command(), folder).map_err(unusable)?;
    settings.note(&format!("the pages are in {}", folder.display()));
    Ok(())
}
