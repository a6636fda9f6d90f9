//! The accounts that write to each other, made for one run.

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cli::args::BenchArgs;
use crate::cli::failure::Failure;
use crate::cli::progress;
use crate::cli::settings::Settings;
use crate::client::Client;
use crate::error::Error;

/// How many registrations are under way at once: each costs the service a password hash.
const AT_ONCE: usize = 8;

pub(super) struct Crowd {
    pub(super) pairs: Vec<Pair>,
    /// One for each sending client, with connections of its own.
    pub(super) clients: Vec<Client>,
    /// Everybody's.
    password: String,
}

/// One who writes, and one who is written to.
pub(super) struct Pair {
    pub(super) sender: Client,
    pub(super) recipient: Client,
    pub(super) recipient_name: String,
    pub(super) presence: Presence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Online,
    Offline,
}

impl Crowd {
    pub(super) async fn gather(settings: &Settings, args: &BenchArgs) -> Result<Self, Failure> {
        let tag = Uuid::new_v4().simple().to_string();
        let password = Uuid::new_v4().to_string();
        let names: Vec<_> = (0..args.pairs)
            .map(|n| {
                let name = |role: &str| format!("bench-{}-{role}{n}", &tag[..8]);
                (n, name("from"), name("to"))
            })
            .collect();
        let bar = progress::bar(u64::from(args.pairs), "pairs of accounts");
        let mut making: JoinSet<Result<(u32, Pair), Error>> = JoinSet::new();
        let mut pairs = Vec::new();
        for (n, from, to) in names {
            while making.len() >= AT_ONCE {
                take(&mut making, &mut pairs, &bar).await?;
            }
            let (settings, password) = (settings.clone(), password.clone());
            // Those who are offline are spread over the pairs.
            let is_offline = (n + 1) * args.offline / 100 > n * args.offline / 100;
            making.spawn(async move {
                let pair = Pair {
                    sender: user(&settings, &from, &password).await?,
                    recipient: user(&settings, &to, &password).await?,
                    recipient_name: to,
                    presence: match is_offline {
                        true => Presence::Offline,
                        false => Presence::Online,
                    },
                };
                Ok((n, pair))
            });
        }
        while !making.is_empty() {
            take(&mut making, &mut pairs, &bar).await?;
        }
        bar.finish_and_clear();
        pairs.sort_by_key(|(n, _)| *n);
        let mut clients = Vec::new();
        for _ in 0..args.clients {
            clients.push(client(settings).await?);
        }
        Ok(Self {
            pairs: pairs.into_iter().map(|(_, pair)| pair).collect(),
            clients,
            password,
        })
    }

    /// How many accounts there are.
    pub(super) fn size(&self) -> u64 {
        2 * self.pairs.len() as u64
    }

    /// Deletes the accounts. What cannot be deleted stays; the measurement is made.
    pub(super) async fn leave(&self, bar: &ProgressBar) {
        let everybody = self.pairs.iter().flat_map(|p| [&p.sender, &p.recipient]);
        let mut leaving = JoinSet::new();
        for client in everybody {
            while leaving.len() >= AT_ONCE {
                leaving.join_next().await;
                bar.inc(1);
            }
            let (client, password) = (client.clone(), self.password.clone());
            leaving.spawn(async move { client.delete_account(&password).await.is_ok() });
        }
        leaving.join_all().await;
    }
}

async fn take(
    making: &mut JoinSet<Result<(u32, Pair), Error>>,
    pairs: &mut Vec<(u32, Pair)>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    if let Some(made) = making.join_next().await {
        let made = made.map_err(|e| Failure::Other(format!("an account was not made: {e}")))?;
        pairs.push(made?);
        bar.inc(1);
    }
    Ok(())
}

async fn user(settings: &Settings, name: &str, password: &str) -> Result<Client, Error> {
    let client = client(settings).await?;
    client.register(name, password).await?;
    client.login(name, password).await?;
    Ok(client)
}

async fn client(settings: &Settings) -> Result<Client, Error> {
    settings.builder().connect().await
}
