//! What the environment and the command line change of a cluster file, under the file's own names.
//!
//! A key is `limits.body_bytes` in the file's terms, `--set limits.body_bytes=…` on the command line, and
//! `CHAT_LIMITS__BODY_BYTES` in the environment. The command line is stronger than the environment, which is stronger than
//! the file. `replica.KEY` stands for the replica that is to run.

use std::collections::BTreeMap;
use std::path::Path;

use chat_replication::types::ReplicaId;
use toml::{Table, Value};

use super::{ClusterConfig, ConfigError, check};

/// Variables of the environment that name a key begin so, and have [`BETWEEN`] in them.
const PREFIX: &str = "CHAT_";
const BETWEEN: &str = "__";
/// The name of the file's list of replicas, which as a table stands for one of them.
const REPLICA: &str = "replica";

/// Where a value is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing says otherwise.
    Default,
    /// The cluster file.
    File,
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    Flag,
}

/// Values that take the place of the file's.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Overrides {
    /// By table and key.
    values: BTreeMap<(String, String), (Source, String)>,
}

impl Overrides {
    /// What the environment says, and over it the command line's `TABLE.KEY=VALUE` settings.
    ///
    /// # Errors
    ///
    /// A setting is not of that form.
    pub fn new(
        environment: impl IntoIterator<Item = (String, String)>,
        settings: &[String],
    ) -> Result<Overrides, ConfigError> {
        let mut values = BTreeMap::new();
        for (name, value) in environment {
            let key = name.strip_prefix(PREFIX);
            let Some((table, key)) = key.and_then(|key| key.split_once(BETWEEN)) else {
                continue;
            };
            let key = (table.to_lowercase(), key.to_lowercase());
            values.insert(key, (Source::Environment(name), value));
        }
        for setting in settings {
            let split = setting
                .split_once('=')
                .and_then(|(key, value)| Some((key.split_once('.')?, value)));
            let Some(((table, key), value)) = split else {
                return Err(ConfigError::Overridden {
                    whence: format!("--set {setting}"),
                    problem: "it is not TABLE.KEY=VALUE, such as limits.body_bytes=65536"
                        .to_owned(),
                });
            };
            let key = (table.trim().to_lowercase(), key.trim().to_lowercase());
            values.insert(key, (Source::Flag, value.trim().to_owned()));
        }
        Ok(Overrides { values })
    }

    /// Reads the file's text with these values in place of its own.
    pub(super) fn apply(
        &self,
        text: &str,
        path: &Path,
        me: Option<ReplicaId>,
    ) -> Result<ClusterConfig, ConfigError> {
        // On its own first, so that its mistakes are told with their lines.
        let mut checked = Ok(check::check(text, path)?);
        let mut file: Table = toml::from_str(text).unwrap_or_default();
        let mut steps = Vec::new();
        for ((table, key), (source, value)) in &self.values {
            let whence = whence(source, table, key);
            match table_of(&mut file, table, me) {
                Ok(table) => _ = table.insert(key.clone(), parse(value)),
                Err(problem) => return Err(ConfigError::Overridden { whence, problem }),
            }
            let text = toml::to_string(&file).unwrap_or_default();
            checked = check::check(&text, path).map_err(ConfigError::problem);
            steps.push((whence, checked.as_ref().err().cloned()));
        }
        // Only all of them together must be right, since a new table may need several keys. What is wrong in the end is the
        // doing of the first one since which it is told.
        checked.map_err(|problem| {
            let mut steps = steps.into_iter();
            let culprit = steps.find(|(_, told)| told.as_ref() == Some(&problem));
            ConfigError::Overridden {
                whence: culprit.map_or(String::new(), |(whence, _)| whence),
                problem,
            }
        })
    }

    /// Where the value of a key is from, with a file of this text.
    pub(super) fn source(
        &self,
        text: &str,
        table: &str,
        key: &str,
        id: Option<ReplicaId>,
    ) -> Source {
        let name = (table.to_owned(), key.to_owned());
        if let Some((source, _)) = self.values.get(&name) {
            return source.clone();
        }
        let mut file: Table = toml::from_str(text).unwrap_or_default();
        match table_of(&mut file, table, id).is_ok_and(|table| table.contains_key(key)) {
            true => Source::File,
            false => Source::Default,
        }
    }
}

fn whence(source: &Source, table: &str, key: &str) -> String {
    match source {
        Source::Environment(name) => name.clone(),
        _ => format!("--set {table}.{key}"),
    }
}

fn table_of<'a>(
    file: &'a mut Table,
    name: &str,
    me: Option<ReplicaId>,
) -> Result<&'a mut Table, String> {
    if name != REPLICA {
        let table = file
            .entry(name)
            .or_insert_with(|| Value::Table(Table::new()));
        return table
            .as_table_mut()
            .ok_or_else(|| format!("`{name}` is no table"));
    }
    let me = me.ok_or("which replica is meant? Name it with --id N")?;
    let replicas = file.get_mut(REPLICA).and_then(Value::as_array_mut);
    replicas
        .into_iter()
        .flatten()
        .filter_map(Value::as_table_mut)
        .find(|table| table.get("id").and_then(Value::as_integer) == Some(i64::from(me.0)))
        .ok_or_else(|| format!("the file has no replica {me}"))
}

/// A number or a truth value where it is one, else text.
fn parse(value: &str) -> Value {
    match value.parse::<i64>() {
        Ok(number) => Value::Integer(number),
        Err(_) => match value {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            text => Value::String(text.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
[cluster]
id = \"0198c5a2-7c1e-4b3a-9d2f-0123456789ab\"
suspect_after = \"2s\"

[[replica]]
id = 3
client_listen = \"127.0.0.1:7400\"
peer_listen = \"127.0.0.1:7500\"
data_dir = \"data\"
";

    fn load(environment: &[(&str, &str)], flags: &[&str]) -> Result<ClusterConfig, String> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Overrides::new(environment, &flags)
            .and_then(|layers| layers.apply(FILE, Path::new("/c.toml"), Some(ReplicaId(3))))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_stronger_than_the_environment_and_that_than_the_file() {
        let seconds = |config: ClusterConfig| config.timing.suspect_after.as_secs();
        assert_eq!(load(&[], &[]).map(seconds), Ok(2));
        let environment = [
            ("CHAT_CLUSTER__SUSPECT_AFTER", "3s"),
            ("CHAT_LIMITS__BODY_BYTES", "1000"),
            ("CHAT_REPLICA__CLIENT_LISTEN", "127.0.0.1:9400"),
            // Of other programs, or of this one for another purpose.
            ("CHAT_CONFIG", "x"),
            ("PATH", "/bin"),
        ];
        let config = load(&environment, &[]).expect("valid");
        assert_eq!(config.limits.body_bytes, 1000);
        assert_eq!(
            config.replicas[0].client_listen.to_string(),
            "127.0.0.1:9400"
        );
        assert_eq!(seconds(config), 3);
        let flagged = load(&environment, &["cluster.suspect_after=4s"]);
        assert_eq!(flagged.map(seconds), Ok(4));
    }

    #[test]
    fn a_table_that_needs_several_keys_can_be_said_outside_the_file() {
        let environment = [
            ("CHAT_TLS__CA", "ca.pem"),
            ("CHAT_TLS__CERT", "/run/tls/cert-{id}.pem"),
        ];
        let config = load(&environment, &["tls.key=key.pem"]).expect("valid");
        let files = config.tls.expect("encrypted").files(ReplicaId(3));
        assert_eq!(files.ca, Path::new("/ca.pem"));
        assert_eq!(files.cert, Path::new("/run/tls/cert-3.pem"));
        let error = load(&environment, &[]).expect_err("no key");
        assert!(
            error.contains("CHAT_TLS__") && error.contains("`key`"),
            "{error}"
        );
    }

    #[test]
    fn a_mistake_names_where_it_was_made() {
        type Layer = &'static [(&'static str, &'static str)];
        let cases: [(Layer, &[&str], &str); 5] = [
            (
                &[("CHAT_LIMITS__BODY_BYTES", "many")],
                &[],
                "CHAT_LIMITS__BODY_BYTES",
            ),
            (&[("CHAT_LIMITS__BODY_BITES", "1")], &[], "body_bites"),
            (&[], &["limits.body_bytes=-1"], "--set limits.body_bytes"),
            (&[], &["body_bytes=1"], "TABLE.KEY=VALUE"),
            (&[], &["cluster.mode=both"], "mode `both` is unknown"),
        ];
        for (environment, flags, words) in cases {
            let error = load(environment, flags).expect_err(words);
            assert!(error.contains(words), "{words} in {error}");
            assert!(!error.contains("line"), "lines are of the file: {error}");
        }
    }
}
