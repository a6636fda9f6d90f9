//! `chat-server compact`.

use std::path::PathBuf;

use chat_replication::types::ReplicaId;
use indicatif::HumanBytes;

use super::Problem;
use super::admin::load;
use super::args::CompactArgs;
use super::output::say;
use crate::store::compact::compact;

pub(super) fn run(args: &CompactArgs) -> Result<(), Problem> {
    for file in compact(&folder(args)?).map_err(|error| error.to_string())? {
        say(format!(
            "{}: {} before, {} now ({} and {} bytes)",
            file.path.display(),
            HumanBytes(file.before),
            HumanBytes(file.after),
            file.before,
            file.after
        ));
    }
    Ok(())
}

fn folder(args: &CompactArgs) -> Result<PathBuf, Problem> {
    if let Some(folder) = &args.data_dir {
        return Ok(folder.clone());
    }
    let (Some(file), Some(id)) = (&args.config, args.id) else {
        return Err(
            "which replica? Name its data folder with --data-dir, or the cluster file with --config and the replica with \
             --id"
                .to_owned(),
        );
    };
    let cluster = load(file, Some(id))?;
    match cluster.replica(ReplicaId(id)) {
        Some(replica) => Ok(replica.data_dir.clone()),
        None => Err(format!(
            "{} has no replica {id}; choose one that it has with --id",
            file.display()
        )),
    }
}
