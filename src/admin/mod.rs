//! `quiver cluster`: what an operator does to a cluster, as calls of its REST API. Any node answers for all.
//!
//! It knows the cluster by the wire alone. Work that goes on in the background is watched until it is done, with a bar if
//! stderr is a terminal; stopping the program stops the watching, not the work.
//!
//! Not here: anything the API does not offer.

mod client;
mod watch;

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use client::{Client, ClusterStatus, Enabled};

/// Holds the key where the server runs, so that it need not stand on a command line.
const KEY_VARIABLE: &str = "QUIVER__SERVICE__API_KEY";

/// `quiver cluster`.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// REST address of any node
    #[arg(long, global = true, default_value = "http://127.0.0.1:6333")]
    url: String,
    /// Key that may do everything [default: that of the environment, QUIVER__SERVICE__API_KEY]
    #[arg(long, global = true)]
    api_key: Option<String>,
    /// Seconds that one call may take
    #[arg(long, global = true, default_value = "30", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the nodes, who leads, and what is on its way
    Status,
    /// Move all replicas of a node to others, so that it can be removed
    Drain {
        /// Its number, as `status` shows it
        node: u64,
        /// Do not wait until it holds none
        #[arg(long)]
        no_wait: bool,
    },
    /// Let a node that was drained hold replicas again
    Resume {
        /// Its number
        node: u64,
    },
    /// Remove a node for good; it never comes back under its number
    Remove {
        /// Its number
        node: u64,
        /// Although it holds replicas: they are replaced from the others, and what had no other replica is lost
        #[arg(long)]
        force: bool,
    },
    /// Spread replicas evenly over the nodes
    Rebalance {
        /// Do not wait until that is done
        #[arg(long)]
        no_wait: bool,
    },
    /// Split or merge a collection's shards until there are as many as wanted, while it is read and written
    Split {
        /// Its name
        collection: String,
        /// How many shards there are to be
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        shards: u32,
        /// The shard key whose shards they are, of a collection with custom sharding; a number is a number
        #[arg(long)]
        shard_key: Option<String>,
        /// Do not wait until that is done
        #[arg(long)]
        no_wait: bool,
    },
    /// Let other nodes lead what the asked node leads, until it is started again
    Handover,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The node cannot be reached, or does not answer in time.
    #[error("{url} does not answer: {why}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The node refused.
    #[error("{0}")]
    Refused(String),
    /// The node runs alone.
    #[error("this node belongs to no cluster; start it with --cluster")]
    NoCluster,
    /// The terminal is gone.
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// The process's exit code; README.md lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Unreachable { .. } | Failure::Output(_) => 1,
            Failure::Refused(_) | Failure::NoCluster => 2,
        }
    }
}

/// Runs what was asked for.
pub fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let key = flags.api_key.clone().or_else(|| std::env::var(KEY_VARIABLE).ok());
    let client = Client::new(&flags.url, key.as_deref(), Duration::from_secs(flags.timeout))?;
    match &flags.command {
        Command::Status => {
            let cluster = enabled(&client)?;
            out.write_all(table(&cluster, &client.transfers()?).as_bytes())?;
        }
        Command::Drain { node, no_wait } => {
            client.post(&format!("cluster/peer/{node}/drain"))?;
            if *no_wait {
                writeln!(out, "node {node} is being drained")?;
            } else {
                watch::until_empty(&client, *node)?;
                writeln!(out, "node {node} holds no replicas; `remove {node}` removes it")?;
            }
        }
        Command::Resume { node } => {
            client.post(&format!("cluster/peer/{node}/resume"))?;
            writeln!(out, "node {node} may hold replicas again")?;
        }
        Command::Remove { node, force } => {
            client.delete(&format!("cluster/peer/{node}?force={force}"))?;
            writeln!(out, "node {node} is removed")?;
        }
        Command::Rebalance { no_wait } => {
            client.post("cluster/rebalance")?;
            if *no_wait {
                writeln!(out, "replicas are being spread")?;
            } else {
                watch::until_still(&client)?;
                writeln!(out, "replicas are spread evenly")?;
            }
        }
        Command::Split { collection, shards, shard_key, no_wait } => {
            client.split(collection, *shards, shard_key.as_deref())?;
            if *no_wait {
                writeln!(out, "{collection} is on its way to {shards} shards")?;
            } else {
                watch::until_split(&client, collection)?;
                writeln!(out, "{collection} has the shards it was to have: {shards}")?;
            }
        }
        Command::Handover => match client.hand_over()? {
            0 => writeln!(out, "the node leads nothing")?,
            left => writeln!(out, "the node still leads {left} groups: they have no other member that could")?,
        },
    }
    Ok(())
}

fn enabled(client: &Client) -> Result<Enabled, Failure> {
    match client.status()? {
        ClusterStatus::Enabled(cluster) => Ok(cluster),
        ClusterStatus::Disabled => Err(Failure::NoCluster),
    }
}

/// The nodes, a line each, and what is on its way.
fn table(cluster: &Enabled, transfers: &[String]) -> String {
    let mut lines = vec![["node", "uri", "zone", "state", "replicas", "leads", ""].map(str::to_owned)];
    for (id, peer) in &cluster.peers {
        let is_leader = cluster.raft_info.leader.is_some_and(|leader| leader.to_string() == *id);
        let is_asked = cluster.peer_id.to_string() == *id;
        let note = match (is_leader, is_asked) {
            (true, true) => "leads the cluster, asked",
            (true, false) => "leads the cluster",
            (false, true) => "asked",
            (false, false) => "",
        };
        lines.push([
            id.clone(),
            peer.uri.clone(),
            peer.zone.clone().unwrap_or_else(|| "-".to_owned()),
            peer.state.clone(),
            peer.replicas.to_string(),
            peer.leads.to_string(),
            note.to_owned(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    if cluster.raft_info.leader.is_none() {
        text.push_str("no leader is known: fewer than half of the nodes that have a vote can be reached\n");
    }
    for transfer in transfers {
        let _ = writeln!(text, "{transfer}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::client::{Peer, RaftInfo};
    use super::*;

    #[test]
    fn nodes_stand_in_a_table() {
        let peer = |uri: &str, state: &str, replicas| Peer {
            uri: uri.to_owned(),
            zone: None,
            state: state.to_owned(),
            replicas,
            leads: 1,
        };
        let cluster = Enabled {
            peer_id: 12,
            peers: [
                ("7".to_owned(), peer("http://a:6335/", "up", 10)),
                ("12".to_owned(), peer("http://long-name:6335/", "draining", 3)),
            ]
            .into(),
            raft_info: RaftInfo { leader: Some(7) },
        };
        let want = "\
node  uri                     zone  state     replicas  leads
12    http://long-name:6335/  -     draining  3         1      asked
7     http://a:6335/          -     up        10        1      leads the cluster
shard 3 of c: from 12 to 7
";
        assert_eq!(table(&cluster, &["shard 3 of c: from 12 to 7".to_owned()]), want);
    }
}
