//! What a command works with, from the command line, the environment and the user's profiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, io};

use serde::Deserialize;
use serde_json::Value;

use super::args::{Global, parse_time};
use super::failure::Failure;
use super::output;
use super::suggest::closest;
use crate::builder::Builder;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::tls::TlsSettings;

const USUAL_SERVERS: [&str; 3] = ["127.0.0.1:7400", "127.0.0.1:7401", "127.0.0.1:7402"];
const USUAL_TIMEOUT: Duration = Duration::from_secs(30);
const USUAL_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) servers: Vec<Endpoint>,
    /// Whom to trust, where somebody said so.
    pub(super) tls: Option<TlsSettings>,
    /// Where the session is kept, where somebody said so.
    pub(super) session: Option<PathBuf>,
    /// Whose session it is, where that is not the usual one.
    pub(super) profile: Option<String>,
    pub(super) timeout: Duration,
    pub(super) attempt_timeout: Duration,
    pub(super) format: Format,
    pub(super) prompts: Prompts,
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object in each line.
    Json,
}

/// Whether the user may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompts {
    Allowed,
    Never,
}

/// `config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Used where none is named.
    default_profile: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    #[serde(default)]
    servers: Vec<String>,
    /// The certificate of the authority to trust.
    ca: Option<PathBuf>,
    session: Option<PathBuf>,
    timeout: Option<String>,
    attempt_timeout: Option<String>,
}

impl Settings {
    /// The command line wins over the environment, that over the profile, and that over what is usual.
    pub(super) fn resolve(global: &Global) -> Result<Self, Failure> {
        let config = match config_file() {
            Some(path) => Config::load(&path)?,
            None => Config::default(),
        };
        let name = global.profile.clone().or(config.default_profile.clone());
        let profile = match &name {
            Some(name) => config.named(name)?,
            None => Profile::default(),
        };
        let of_profile = |text: &str| {
            parse_time(text).map_err(|problem| {
                let name = name.as_deref().unwrap_or_default();
                Failure::Usage(format!(
                    "the time `{text}` in profile {name} is none: {problem}"
                ))
            })
        };
        let time = |given: Option<Duration>, kept: &Option<String>, usual| match (given, kept) {
            (Some(given), _) => Ok(given),
            (None, Some(kept)) => of_profile(kept),
            (None, None) => Ok(usual),
        };
        Ok(Self {
            servers: servers(&global.servers, &profile.servers)?,
            tls: match global.ca.as_ref().or(profile.ca.as_ref()) {
                Some(path) => Some(trusting(path)?),
                None => None,
            },
            session: global.session.clone().or(profile.session),
            timeout: time(global.timeout, &profile.timeout, USUAL_TIMEOUT)?,
            attempt_timeout: time(
                global.attempt_timeout,
                &profile.attempt_timeout,
                USUAL_ATTEMPT_TIMEOUT,
            )?,
            profile: name,
            format: global.format(),
            prompts: match global.no_input {
                true => Prompts::Never,
                false => Prompts::Allowed,
            },
        })
    }

    /// A client's beginnings.
    pub(super) fn builder(&self) -> Builder {
        let builder = Client::builder()
            .endpoints(&self.servers)
            .attempt_deadline(self.attempt_timeout)
            .total_deadline(self.timeout);
        match &self.tls {
            Some(tls) => builder.tls(tls.clone()),
            None => builder,
        }
    }

    /// Writes data, as people or programs want it.
    pub(super) fn data(&self, record: Value, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Text => output::data(text),
            Format::Json => output::data(&super::json::line(&record)),
        }
    }

    /// Tells people something that is no data; programs are told nothing.
    pub(super) fn note(&self, text: &str) {
        if self.format == Format::Text {
            output::note(text);
        }
    }
}

impl Config {
    fn load(path: &Path) -> Result<Self, Failure> {
        let unusable = |problem: String| {
            let path = path.display();
            Failure::Usage(format!("the config file {path} cannot be used: {problem}"))
        };
        match fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).map_err(|e| unusable(e.message().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    fn named(&self, name: &str) -> Result<Profile, Failure> {
        if let Some(profile) = self.profile.get(name) {
            return Ok(profile.clone());
        }
        let meant = match closest(name, self.profile.keys().map(String::as_str)) {
            Some(profile) => format!("did you mean {profile}?"),
            None => "name one that the config file has as [profile.NAME]".into(),
        };
        Err(Failure::Usage(format!(
            "there is no profile `{name}`; {meant}"
        )))
    }
}

fn servers(given: &[Endpoint], kept: &[String]) -> Result<Vec<Endpoint>, Failure> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let texts: Vec<&str> = match kept.is_empty() {
        true => USUAL_SERVERS.to_vec(),
        false => kept.iter().map(String::as_str).collect(),
    };
    let parse = |text: &&str| {
        text.parse()
            .map_err(|e: crate::EndpointError| crate::Error::from(e).into())
    };
    texts.iter().map(parse).collect()
}

fn trusting(path: &Path) -> Result<TlsSettings, Failure> {
    let unusable = |problem: String| {
        let path = path.display();
        Failure::Usage(format!(
            "the authority's file {path} cannot be used: {problem}"
        ))
    };
    let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    TlsSettings::new()
        .ca_pem(&pem)
        .map_err(|error| unusable(error.to_string()))
}

/// `config.toml` in `$XDG_CONFIG_HOME/chat` or `~/.config/chat`.
fn config_file() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHAT_CLIENT_CONFIG") {
        return Some(PathBuf::from(named));
    }
    let folder = match env::var_os("XDG_CONFIG_HOME").map(PathBuf::from) {
        Some(folder) if folder.is_absolute() => folder,
        _ => env::home_dir()?.join(".config"),
    };
    Some(folder.join("chat/config.toml"))
}
