//! Writes the manual pages and the completions of shells into a folder, as a package installs them:
//! `cargo run -p phone-verify --example manual -- DIR`.
#![forbid(unsafe_code)]

use std::{env, fs, io, path::PathBuf, process::ExitCode};

use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual DIR");
        return ExitCode::from(2);
    };
    match write(&folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", folder.display());
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &std::path::Path) -> io::Result<()> {
    let [man, completions] = ["man", "completions"].map(|name| folder.join(name));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let mut command = without_help(phone_verify::cli::command());
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command, "phone-verify", &completions)?;
    }
    clap_mangen::generate_to(command, &man)
}

/// Without `help` among the commands, whose every page would say what the others say.
fn without_help(command: clap::Command) -> clap::Command {
    command
        .disable_help_subcommand(true)
        .mut_subcommands(without_help)
}
