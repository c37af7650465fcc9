//! The `quiver` program: parse, run, exit code.

use clap::{Parser, Subcommand};
use quiver::server::config::{self, Flags};
use quiver::server::{self, Failure};

/// A vector database that speaks the Qdrant protocol
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(Flags),
}

fn main() {
    let Command::Serve(flags) = Cli::parse().command;
    match config::load(&flags, environment())
        .map_err(Failure::from)
        .and_then(|config| server::run(config, flags.recovery()))
    {
        Ok(()) => server::exit(0),
        Err(failure) => {
            eprintln!("error: {failure}");
            server::exit(failure.exit_code())
        }
    }
}

/// Variables whose name or value is not text are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
