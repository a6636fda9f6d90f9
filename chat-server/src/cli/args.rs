//! The command line.

use std::path::PathBuf;

use chat_replication::types::Mode;
use clap::{Parser, Subcommand, ValueEnum};

use crate::config::{Layout, Place};
use crate::edge::tls::DAYS;

/// A replicated chat service.
#[derive(Debug, Parser)]
#[command(name = "chat-server", version, about, long_about = None)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Makes everything that a new cluster needs: its file, certificates, and keys.
    Init(InitArgs),
    /// Runs one replica of the cluster that a file describes.
    Run(RunArgs),
    /// Runs a whole cluster on this machine, each replica as a process of its own.
    Cluster(ClusterArgs),
    /// Works with cluster files.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Adds, removes and lists the replicas of a running cluster.
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Makes and deletes accounts, and gives them new passwords.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Says in words whether a cluster is well, and what to do if it is not. The exit code is 1 then.
    Status {
        #[command(flatten)]
        through: Through,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Lets another replica lead; for a minute at least, even if it is not the preferred one.
    TransferLeadership {
        /// The replica that is to lead.
        #[arg(value_name = "ID")]
        to: u32,
        #[command(flatten)]
        through: Through,
    },
    /// Lets a replica that waits for others go on without them. What only they have is missing until they are back.
    ForceView {
        #[command(flatten)]
        through: Through,
    },
    /// Shows the log of a replica that does not run.
    Log {
        /// Its data folder, or a copy of it.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// Shows the entries from this index on.
        #[arg(long, value_name = "INDEX", default_value_t = 1)]
        from: u64,
        /// Shows so many entries at most.
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        limit: u64,
        /// Shows what people wrote, too.
        #[arg(long)]
        bodies: bool,
    },
    /// Checks the files of a replica that does not run, or a backup. The exit code is 1 if anything is wrong.
    Verify {
        /// The data folder, or a copy of it; or the file of a backup.
        #[arg(value_name = "DIR|FILE")]
        path: PathBuf,
        /// Builds the state anew from the log, in a temporary folder, and compares.
        #[arg(long)]
        replay: bool,
    },
    /// Gives disk space that the files of a replica do not use back. The replica must not run.
    Compact(CompactArgs),
    /// Writes everything that a running cluster holds into one file, while it goes on.
    Backup {
        /// The file, which must not be there yet.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Takes what the replica has, even where no leader can vouch that nothing is missing.
        #[arg(long)]
        anyway: bool,
        #[command(flatten)]
        through: Through,
    },
    /// Begins a cluster anew from a backup: makes the data folder of its first replica.
    Restore(RestoreArgs),
}

/// Whom a command is given to: a replica that runs on this machine. Any will do, orders are passed on to the leader.
#[derive(Debug, clap::Args)]
pub(super) struct Through {
    /// The data folder of a replica that runs on this machine.
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The cluster file, which tells the data folders; the first of its replicas that runs here is asked.
    #[arg(long, value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Asks this one of the file's replicas.
    #[arg(
        long,
        value_name = "N",
        requires = "config",
        conflicts_with = "data_dir"
    )]
    pub(super) id: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CompactArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The cluster file, which tells the data folder of the replica that --id names.
    #[arg(long, value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The replica.
    #[arg(long, value_name = "N", env = "CHAT_ID")]
    pub(super) id: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// What `chat-server backup` wrote.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// The data folder, absent or empty [default: what the cluster file says].
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    pub(super) data_dir: Option<PathBuf>,
    /// The cluster file, which says where replicas are reached by now [default: as it was when the backup was taken].
    #[arg(long, value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// The replica whose folder it is [default: the one that the backup was taken from].
    #[arg(long, value_name = "N")]
    pub(super) id: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ReplicaCommand {
    /// Adds a replica that runs with an empty data folder, and waits until it has caught up.
    Add {
        /// Its number, which no other replica has.
        #[arg(value_name = "ID")]
        replica: u32,
        /// Where peers reach it [default: what the cluster file says].
        #[arg(long, value_name = "HOST:PORT")]
        peer: Option<String>,
        /// Where clients reach it [default: what the cluster file says].
        #[arg(long, value_name = "HOST:PORT")]
        client: Option<String>,
        #[command(flatten)]
        through: Through,
    },
    /// Removes a replica, whether it runs or not. If it leads, another one takes over first.
    Remove {
        /// Its number.
        #[arg(value_name = "ID")]
        replica: u32,
        /// Its disk is destroyed: nothing is kept for what it may come back with. Also for one that was removed before.
        #[arg(long)]
        destroyed: bool,
        #[command(flatten)]
        through: Through,
    },
    /// Lists the replicas.
    List {
        #[command(flatten)]
        through: Through,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Makes an account, also where registration is closed. Prints a password that it makes up, unless it reads one.
    Create {
        /// The account's name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        through: Through,
    },
    /// Gives an account a new password, which ends all its sessions. Prints the password, unless it reads one.
    ResetPassword {
        /// The account's name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        password: NewPassword,
        #[command(flatten)]
        through: Through,
    },
    /// Deletes an account. What it wrote stays with those who got it.
    Delete {
        /// The account's name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        through: Through,
    },
    /// Lists accounts.
    List {
        /// A glob (* ? [a-z]) or, behind regex:, a regular expression; all accounts without it.
        #[arg(value_name = "PATTERN")]
        pattern: Option<String>,
        #[command(flatten)]
        through: Through,
    },
}

/// Where a new password is from. Never the command line, which others on the machine can read.
#[derive(Debug, clap::Args)]
pub(super) struct NewPassword {
    /// Reads the password from the first line of standard input.
    #[arg(long)]
    pub(super) password_stdin: bool,
}

/// What takes the place of what the cluster file says.
#[derive(Debug, clap::Args)]
pub(super) struct Layers {
    /// Says something else than the cluster file, such as `limits.body_bytes=1000`; `replica.KEY` is the replica's own. In
    /// the environment that is `CHAT_LIMITS__BODY_BYTES=1000`, which this is stronger than.
    #[arg(long = "set", value_name = "TABLE.KEY=VALUE")]
    pub(super) settings: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The cluster file, which all replicas share.
    #[arg(long, value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) config: PathBuf,
    /// Which of its replicas to run.
    #[arg(long, value_name = "N", env = "CHAT_ID")]
    pub(super) id: u32,
    /// Listens where other machines can reach it, though connections are not encrypted.
    #[arg(long, env = "CHAT_INSECURE")]
    pub(super) insecure: bool,
    #[command(flatten)]
    pub(super) layers: Layers,
    /// What is logged, such as `debug` or `info,h2=warn`; the same as `--set logging.level=…`.
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// How it is logged, `pretty` or `json`; the same as `--set logging.format=…`.
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// Stops when standard input closes, so that no child outlives its parent.
    #[arg(long, hide = true)]
    pub(super) exit_with_stdin: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  chat-server init chat --replica 0=a.example.org --replica 1=b.example.org --replica 2=c.example.org")]
pub(super) struct InitArgs {
    /// Where to write it; the folder stays with whoever makes certificates.
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
    /// A replica, and the name or address by which others reach its machine; repeat it for each one [default: three on
    /// this machine]
    #[arg(long, value_name = "ID=HOST", value_parser = parse_place)]
    pub(super) replica: Vec<Place>,
    /// Clients' port of replica 0; the others have the ports behind it.
    #[arg(long, value_name = "PORT", default_value_t = Layout::default().base_port)]
    pub(super) base_port: u16,
    /// What the cluster needs in order to go on.
    #[arg(long, value_name = "MODE", default_value = "available")]
    pub(super) mode: ModeArg,
    /// How long certificates last.
    #[arg(long, value_name = "N", default_value_t = DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(super) days: u32,
    /// Makes a new certificate for one replica of the cluster that the folder has.
    #[arg(long, value_name = "ID", conflicts_with_all = ["replica", "base_port", "mode"])]
    pub(super) renew: Option<u32>,
}

fn parse_place(text: &str) -> Result<Place, String> {
    let (id, host) = text
        .split_once('=')
        .ok_or("write ID=HOST, such as 0=a.example.org")?;
    let id = id
        .trim()
        .parse()
        .map_err(|_| format!("`{id}` is not a replica's number"))?;
    let host = host.trim().trim_start_matches('[').trim_end_matches(']');
    let is_host = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'));
    match is_host {
        true => Ok(Place {
            id,
            host: host.to_ascii_lowercase(),
        }),
        false => Err(format!(
            "`{host}` is not a host; write a name or an address, without a port"
        )),
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ClusterArgs {
    /// Holds the cluster file and the replicas' data folders. What is there already is used again.
    #[arg(
        long,
        value_name = "DIR",
        env = "CHAT_DIR",
        default_value = "chat-cluster"
    )]
    pub(super) dir: PathBuf,
    /// How many replicas a new cluster has [default: 3].
    #[arg(long, value_name = "N")]
    pub(super) replicas: Option<u32>,
    /// Clients' port of replica 0 of a new cluster, the others have the ports behind it [default: 7400].
    #[arg(long, value_name = "PORT")]
    pub(super) base_port: Option<u16>,
    /// What a new cluster needs in order to go on [default: available].
    #[arg(long, value_name = "MODE")]
    pub(super) mode: Option<ModeArg>,
}

/// What a view of a cluster needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum ModeArg {
    /// One replica is enough. Histories that a partition makes are merged.
    Available,
    /// More than half of the replicas. With fewer the cluster stops.
    Consistent,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Mode {
        match mode {
            ModeArg::Available => Mode::Available,
            ModeArg::Consistent => Mode::Consistent,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Writes a cluster file with a new cluster id.
    New {
        /// Where to write it; to standard output by default.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// How many replicas it has.
        #[arg(long, value_name = "N", default_value_t = Layout::default().replicas)]
        replicas: u32,
        /// Clients' port of replica 0.
        #[arg(long, value_name = "PORT", default_value_t = Layout::default().base_port)]
        base_port: u16,
        /// What the cluster needs in order to go on.
        #[arg(long, value_name = "MODE", default_value = "available")]
        mode: ModeArg,
    },
    /// Checks a cluster file, and what the environment and the command line say instead.
    Check(ReadArgs),
    /// Prints the configuration that is in force, and where each value is from.
    Print(ReadArgs),
}

/// Which configuration is read.
#[derive(Debug, clap::Args)]
pub(super) struct ReadArgs {
    /// The file.
    #[arg(value_name = "FILE", env = "CHAT_CONFIG")]
    pub(super) file: PathBuf,
    /// The replica that `replica.KEY` stands for.
    #[arg(long, value_name = "N", env = "CHAT_ID")]
    pub(super) id: Option<u32>,
    #[command(flatten)]
    pub(super) layers: Layers,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        Args::command().debug_assert();
    }
}
