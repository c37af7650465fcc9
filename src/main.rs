//! The `quiver` program: parse, run, exit code.

use clap::{Parser, Subcommand};
use quiver::admin;
use quiver::bench;
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
    /// Look at a cluster and change it
    Cluster(admin::Flags),
    /// Measure any server that speaks the protocol
    Bench(Box<bench::Flags>),
}

fn main() {
    match Cli::parse().command {
        Command::Serve(flags) => end(serve(&flags), Failure::exit_code),
        Command::Cluster(flags) => end(admin::run(&flags, &mut std::io::stdout()), admin::Failure::exit_code),
        Command::Bench(flags) => end(bench::run(&flags, &mut std::io::stdout()), bench::Failure::exit_code),
    }
}

fn serve(flags: &Flags) -> Result<(), Failure> {
    server::run(config::load(flags, environment())?, flags.recovery())
}

/// Says in one line what went wrong, and ends the process.
fn end<E: std::fmt::Display>(outcome: Result<(), E>, exit_code: fn(&E) -> u8) -> ! {
    match outcome {
        Ok(()) => server::exit(0),
        Err(failure) => {
            eprintln!("error: {failure}");
            server::exit(exit_code(&failure))
        }
    }
}

/// Variables whose name or value is not text are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
