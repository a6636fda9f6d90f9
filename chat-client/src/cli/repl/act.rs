//! Does what a line says.

use std::sync::{Arc, Mutex};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::input::{Input, Kind};
use super::line::{HELP, Line, Target};
use super::listen::{self, Outgoing, lock};
use super::post::Post;
use super::screen::Screen;
use super::state::State;
use super::{ask_everybody, show};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::text::harmless;
use crate::ids::MessageId;
use crate::types::{LogoutScope, PageRequest};

/// How much of a list is shown.
const PAGE: u32 = 50;

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    Quit,
}

pub(super) struct Actor {
    pub(super) input: Input,
    context: Context,
    screen: Screen,
    state: Arc<Mutex<State>>,
    /// Whom plain lines go to.
    peer: Option<String>,
    listener: Option<Listener>,
    outgoing: watch::Sender<Outgoing>,
    outbox: Option<Post>,
}

struct Listener {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// A message is under way for as long as this lives.
struct UnderWay<'a>(&'a watch::Sender<Outgoing>);

impl<'a> UnderWay<'a> {
    fn begin(outgoing: &'a watch::Sender<Outgoing>) -> Self {
        outgoing.send_replace(Outgoing::Message);
        Self(outgoing)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.send_replace(Outgoing::Nothing);
    }
}

impl Actor {
    pub(super) fn new(context: Context, input: Input, screen: Screen) -> Self {
        Self {
            input,
            context,
            screen,
            state: Arc::default(),
            peer: None,
            listener: None,
            outgoing: watch::channel(Outgoing::Nothing).0,
            outbox: None,
        }
    }

    /// Whether a message of the user is under way.
    pub(super) fn outgoing(&self) -> watch::Receiver<Outgoing> {
        self.outgoing.subscribe()
    }

    pub(super) fn greet(&self) {
        self.screen.say(&match self.context.username() {
            Some(name) => format!("logged in as {}; /help lists the commands", harmless(name)),
            None => "not logged in: /login USER or /register USER; /help lists the commands".into(),
        });
    }

    pub(super) fn prompt(&self) -> String {
        let me = harmless(self.context.username().unwrap_or("nobody"));
        match &self.peer {
            Some(peer) => format!("{me} to {}> ", harmless(peer)),
            None => format!("{me}> "),
        }
    }

    /// Begins to print the account's events and to send what waits, if somebody is logged in.
    pub(super) async fn start_listening(&mut self) {
        let Some((account, _)) = self.context.me() else {
            return;
        };
        let root = self.context.outbox_root();
        let (client, screen) = (&self.context.client, &self.screen);
        match Post::open(client, account, &root, screen, &self.state).await {
            Ok(outbox) => self.outbox = Some(outbox),
            Err(error) => self.screen.say(&format!("error: {error}")),
        }
        let (stop, stopped) = oneshot::channel();
        let client = self.context.client.clone();
        let (screen, state) = (self.screen.clone(), Arc::clone(&self.state));
        let task = tokio::spawn(listen::account_events(client, screen, state, stopped));
        self.listener = Some(Listener { stop, task });
    }

    /// The user does not wait for what was under way.
    pub(super) fn interrupted(&self) {
        self.screen.say(
            "interrupted; a message that was not answered yet is kept, and told of when it is sent",
        );
    }

    /// Confirms what was shown, and keeps what the next session must know.
    pub(super) async fn stop(&mut self) {
        self.stop_listening().await;
        if let Err(failure) = self.context.remember() {
            super::complain(&self.screen, &failure);
        }
    }

    async fn stop_listening(&mut self) {
        // Dropped first: what it holds is kept, and sent by the next session of this account.
        if let Some(outbox) = self.outbox.take() {
            outbox.close();
        }
        if let Some(listener) = self.listener.take() {
            let _ = listener.stop.send(());
            let _ = listener.task.await;
        }
    }

    pub(super) async fn act(&mut self, line: Line) -> Result<Flow, Failure> {
        match line {
            Line::Nothing => {}
            Line::Quit => return Ok(Flow::Quit),
            Line::Help => self.screen.say(HELP),
            Line::Wrong(instead) => self.screen.say(&harmless(&instead)),
            Line::To(peer) => self.peer = peer,
            Line::Send { to, body } => self.send(&to, &body).await?,
            Line::SendHere { body } => match self.peer.clone() {
                Some(peer) => self.send(&peer, &body).await?,
                None => self
                    .screen
                    .say("to whom? write USER: TEXT, or /to USER first"),
            },
            Line::Login { user } => self.login(&user).await?,
            Line::Register { user } => self.register(&user).await?,
            Line::Logout => self.logout().await?,
            Line::Status => {
                let answers = ask_everybody(&self.context.client).await;
                self.screen.say(&show::status(&answers).join("\n"));
            }
            Line::WhoAmI => {
                self.context.require_session()?;
                let session = self.context.client.who_am_i().await?;
                let (name, until) = (show::name(&session.account), session.expires);
                self.screen.say(&format!("{name}, session until {until}"));
            }
            Line::Users { pattern } => self.users(&pattern).await?,
            Line::History { peer } => match peer.or_else(|| self.peer.clone()) {
                Some(peer) => self.history(&peer).await?,
                None => self.screen.say("whose? write /history USER"),
            },
            Line::Inbox => self.inbox().await?,
            Line::Conversations => self.conversations().await?,
            Line::Read(target) => self.mark_read(target).await?,
            Line::Delete { scope, messages } => {
                self.context.require_session()?;
                let ids = self.named(&messages)?;
                let deleted = self.context.client.delete_messages(&ids, scope).await?;
                let (count, durability) = (deleted.count, deleted.durability);
                self.screen
                    .say(&format!("{count} deleted, stored on {durability}"));
            }
        }
        Ok(Flow::GoOn)
    }

    async fn send(&mut self, to: &str, body: &str) -> Result<(), Failure> {
        self.context.require_session()?;
        let Some(outbox) = &self.outbox else {
            let problem = "not sent: the outbox cannot be used; see the message above";
            return Err(Failure::Other(problem.into()));
        };
        // Ends with this block however it ends, an interruption included.
        let _under_way = UnderWay::begin(&self.outgoing);
        outbox.send(to, body).await
    }

    async fn login(&mut self, user: &str) -> Result<(), Failure> {
        let Some(password) = self
            .password(&format!("Password of {}: ", harmless(user)))
            .await
        else {
            return Ok(());
        };
        self.open_session(user, &password).await
    }

    async fn register(&mut self, user: &str) -> Result<(), Failure> {
        let Some(password) = self.password("New password: ").await else {
            return Ok(());
        };
        // A slip of the finger cannot be seen where nothing is shown.
        if self.input.kind() == Kind::Terminal
            && self.password("The same again: ").await.as_deref() != Some(password.as_str())
        {
            return Err(Failure::Usage(
                "the two passwords differ; nothing was done".into(),
            ));
        }
        let registered = self.context.client.register(user, &password).await?;
        let name = show::name(&registered.account);
        self.screen.say(&format!(
            "registered {name}, stored on {}",
            registered.durability
        ));
        self.open_session(user, &password).await
    }

    async fn open_session(&mut self, user: &str, password: &str) -> Result<(), Failure> {
        // The old session's stream must not go on under the new one.
        self.stop_listening().await;
        let opened = self.context.client.login(user, password).await;
        if let Ok(logged_in) = &opened {
            self.context.logged_in(logged_in)?;
            self.peer = None;
            self.screen
                .say(&format!("logged in as {}", show::name(&logged_in.account)));
        }
        self.start_listening().await;
        opened?;
        Ok(())
    }

    async fn logout(&mut self) -> Result<(), Failure> {
        self.context.require_session()?;
        self.stop_listening().await;
        let result = self.context.client.logout(LogoutScope::ThisSession).await;
        match result {
            Ok(_) | Err(crate::error::Error::Unauthenticated(_)) => {
                self.context.logged_out()?;
                self.peer = None;
                self.screen.say("logged out");
                Ok(())
            }
            Err(error) => {
                self.start_listening().await;
                Err(error.into())
            }
        }
    }

    async fn users(&self, pattern: &str) -> Result<(), Failure> {
        self.context.require_session()?;
        let page = self
            .context
            .client
            .list_accounts(pattern, PageRequest::first(PAGE))
            .await?;
        for account in &page.items {
            self.screen.say(&show::account(account));
        }
        self.say_if(
            page.next.is_some(),
            "... and more; a narrower pattern shows them",
        );
        self.say_if(page.items.is_empty() && page.next.is_none(), "nobody");
        Ok(())
    }

    async fn history(&self, peer: &str) -> Result<(), Failure> {
        self.context.require_session()?;
        let page = self
            .context
            .client
            .list_history(peer, PageRequest::first(PAGE))
            .await?;
        self.say_if(
            page.next.is_some(),
            "... and earlier; `chat-client history --limit` shows more",
        );
        for message in page.items.iter().rev() {
            let line = listen::line(message, &mut lock(&self.state));
            self.screen.say(&line);
        }
        self.say_if(page.items.is_empty(), "no messages");
        Ok(())
    }

    async fn inbox(&self) -> Result<(), Failure> {
        self.context.require_session()?;
        let page = self
            .context
            .client
            .list_inbox(PageRequest::first(PAGE))
            .await?;
        for message in &page.items {
            let line = listen::line(message, &mut lock(&self.state));
            self.screen.say(&line);
        }
        self.say_if(page.next.is_some(), "... and more");
        self.say_if(
            page.items.is_empty(),
            "no messages wait: they are shown as they come",
        );
        Ok(())
    }

    async fn conversations(&self) -> Result<(), Failure> {
        self.context.require_session()?;
        let page = self
            .context
            .client
            .list_conversations(PageRequest::first(PAGE))
            .await?;
        for conversation in &page.items {
            self.screen.say(&show::conversation(conversation));
        }
        self.say_if(
            page.next.is_some(),
            "... and more; `chat-client conversations` shows all",
        );
        self.say_if(page.items.is_empty(), "no conversations");
        Ok(())
    }

    async fn mark_read(&self, target: Target) -> Result<(), Failure> {
        self.context.require_session()?;
        let client = &self.context.client;
        let marked = match target {
            Target::Messages(words) => client.mark_read(&self.named(&words)?).await?,
            Target::From(peer) => client.mark_conversation_read(&peer, None).await?,
            Target::Here => match &self.peer {
                Some(peer) => client.mark_conversation_read(peer, None).await?,
                None => return Err(Failure::Usage("whose? write /read USER or /read N".into())),
            },
        };
        self.screen.say(&format!("{marked} marked as read"));
        Ok(())
    }

    /// The messages behind numbers and ids.
    fn named(&self, words: &[String]) -> Result<Vec<MessageId>, Failure> {
        let state = lock(&self.state);
        let find = |word: &String| {
            state.message(word).ok_or_else(|| {
                Failure::Usage(format!(
                    "no message here has the number or id {}",
                    harmless(word)
                ))
            })
        };
        words.iter().map(find).collect()
    }

    async fn password(&self, prompt: &str) -> Option<String> {
        self.input.hidden(prompt).await.filter(|p| !p.is_empty())
    }

    fn say_if(&self, condition: bool, line: &str) {
        if condition {
            self.screen.say(line);
        }
    }
}
