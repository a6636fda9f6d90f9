//! The model at work: does what it asks for, and tells it what comes of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::model::{Effect, Input, Line, Me, Model};
use super::view;
use crate::client::Client;
use crate::error::Error;
use crate::events::{ClientEvent, ClientEvents};
use crate::ids::AccountId;
use crate::outbox::{Outbox, OutboxEvent, OutboxEvents};
use crate::subscription::{Event, SubscribeOptions, Subscription};
use crate::types::{Conversation, LoggedIn, LogoutScope, PageRequest};

/// As many accounts and conversations as are listed.
const MOST_LISTED: u32 = 1000;

/// How long the end waits for what was shown to be confirmed.
const FAREWELL: Duration = Duration::from_secs(2);

/// The terminal interface without a terminal: a model of what is shown, kept up by a client. Keys go in by
/// its [`Keyboard`]; [`App::turn`] waits for the next thing that happens; [`App::draw`] shows what there is.
pub struct App {
    model: Model,
    client: Client,
    outbox_root: PathBuf,
    keep: Box<dyn Keep>,
    news: mpsc::UnboundedReceiver<News>,
    teller: mpsc::UnboundedSender<News>,
    client_events: ClientEvents,
    subscription: Option<Subscription>,
    outbox: Option<(Outbox, OutboxEvents)>,
    ticks: Interval,
    /// Answers to what an earlier session asked are not let in.
    session: u64,
    is_over: bool,
    wants_redraw: bool,
}

/// The keyboard of an [`App`].
#[derive(Clone)]
pub struct Keyboard {
    teller: mpsc::UnboundedSender<News>,
}

impl Keyboard {
    /// A key, as the terminal would tell of it. It is taken in by one of the next turns.
    pub fn press(&self, key: KeyCode, modifiers: KeyModifiers) {
        let key = Input::Key(KeyEvent::new(key, modifiers));
        let _ = self.teller.send(News::Input(key));
    }

    /// Writes a line and sends it.
    pub fn type_line(&self, line: &str) {
        for c in line.chars() {
            self.press(KeyCode::Char(c), KeyModifiers::NONE);
        }
        self.press(KeyCode::Enter, KeyModifiers::NONE);
    }
}

/// Where a session is kept beyond the program's end.
pub(in crate::cli) trait Keep: Send {
    fn logged_in(&mut self, session: &LoggedIn) -> Result<(), String>;
    fn logged_out(&mut self) -> Result<(), String>;
}

struct KeepNothing;

impl Keep for KeepNothing {
    fn logged_in(&mut self, _: &LoggedIn) -> Result<(), String> {
        Ok(())
    }

    fn logged_out(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Something from a task or from the terminal.
pub(super) enum News {
    Input(Input),
    /// In answer to a session's question.
    Answer(u64, Input),
    Subscribed(u64, Box<Result<Subscription, Error>>),
    LoggedIn(Box<LoggedIn>),
}

enum Turn {
    News(News),
    Event(Option<Result<Event, Error>>),
    Client(ClientEvent),
    Outbox(OutboxEvent),
    Tick,
}

impl App {
    /// Begins with a client that is logged in as this account. What waits to be sent is kept below `outbox_root`.
    pub async fn start(
        client: Client,
        account: AccountId,
        name: &str,
        outbox_root: &Path,
        columns_and_rows: (u16, u16),
    ) -> Self {
        let me = Me {
            id: account,
            name: name.to_owned(),
        };
        let keep = Box::new(KeepNothing);
        Self::with(client, Some(me), outbox_root, columns_and_rows, keep).await
    }

    pub(super) async fn with(
        client: Client,
        me: Option<Me>,
        outbox_root: &Path,
        size: (u16, u16),
        keep: Box<dyn Keep>,
    ) -> Self {
        let (teller, news) = mpsc::unbounded_channel();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut app = Self {
            model: Model::new(size),
            client_events: client.events(),
            client,
            outbox_root: outbox_root.to_owned(),
            keep,
            news,
            teller,
            subscription: None,
            outbox: None,
            ticks,
            session: 0,
            is_over: false,
            wants_redraw: false,
        };
        // Learns which replica is at which address, so that a switch can be told by their numbers.
        let learner = app.client.clone();
        tokio::spawn(async move { learner.cluster_status_everywhere().await });
        match me {
            Some(me) => app.open(me).await,
            None => app.update(Input::LoggedOut).await,
        }
        app
    }

    /// Waits until something happens, and takes it in. To be awaited to its end: dropped before, it may have taken something
    /// in halfway, such as a line that is written but not kept yet.
    pub async fn turn(&mut self) {
        let turn = tokio::select! {
            Some(news) = self.news.recv() => Turn::News(news),
            // A message counts as shown when the one behind it is asked for, which is after it was drawn.
            event = next_event(&mut self.subscription) => Turn::Event(event),
            Some(event) = self.client_events.next() => Turn::Client(event),
            Some(event) = next_of_outbox(&mut self.outbox) => Turn::Outbox(event),
            _ = self.ticks.tick() => Turn::Tick,
        };
        match turn {
            Turn::News(news) => self.take_in(news).await,
            Turn::Event(Some(Ok(event))) => self.update(Input::Event(event)).await,
            Turn::Event(end) => {
                self.subscription = None;
                let error = end.and_then(Result::err);
                self.update(Input::StreamEnded(error)).await;
            }
            Turn::Client(event) => self.update(Input::Client(event)).await,
            Turn::Outbox(event) => self.update(Input::Outbox(event)).await,
            Turn::Tick => self.update(Input::Tick).await,
        }
    }

    /// Where keys are pressed.
    pub fn keyboard(&self) -> Keyboard {
        Keyboard {
            teller: self.teller.clone(),
        }
    }

    /// What is shown of the conversation with somebody, oldest first, scrolled past or not.
    pub fn lines(&self, peer: &str) -> Vec<Line> {
        let conversations = self.model.conversations.iter();
        conversations
            .filter(|c| c.address() == peer)
            .flat_map(|c| c.timeline.lines().map(|(_, line)| line.clone()))
            .collect()
    }

    /// Draws the whole window.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        view::draw(&self.model, frame);
    }

    /// Whether the user has left.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Ends the stream and confirms what was shown.
    pub async fn close(&mut self) {
        if let Some(subscription) = self.subscription.take() {
            let _ = timeout(FAREWELL, subscription.close()).await;
        }
        self.outbox = None;
    }

    pub(super) fn teller(&self) -> mpsc::UnboundedSender<News> {
        self.teller.clone()
    }

    /// Whether the terminal is to be cleared first. Asked for once.
    pub(super) fn take_redraw(&mut self) -> bool {
        std::mem::take(&mut self.wants_redraw)
    }

    /// How many messages are left to be sent later.
    pub(super) fn waiting(&self) -> usize {
        self.model.waiting()
    }

    async fn take_in(&mut self, news: News) {
        match news {
            News::Input(input) => self.update(input).await,
            News::Answer(session, input) if session == self.session => self.update(input).await,
            News::Answer(..) => {}
            News::Subscribed(session, subscribed) if session == self.session => match *subscribed {
                Ok(subscription) => self.subscription = Some(subscription),
                Err(error) => self.update(Input::StreamEnded(Some(error))).await,
            },
            News::Subscribed(..) => {}
            News::LoggedIn(logged_in) => {
                let kept = self.keep.logged_in(&logged_in);
                let me = Me {
                    id: logged_in.account.id,
                    name: logged_in.account.name.clone(),
                };
                self.open(me).await;
                if let Err(problem) = kept {
                    self.model.say(&problem);
                }
            }
        }
    }

    /// Begins in a session.
    async fn open(&mut self, me: Me) {
        self.session += 1;
        self.subscription = None;
        self.outbox = None;
        let opened = Outbox::open(&self.client, me.id, &self.outbox_root).await;
        let (outbox, problem) = match opened {
            Ok(outbox) => (Some(outbox), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let waiting = outbox
            .as_ref()
            .map(|(o, _)| o.waiting())
            .unwrap_or_default();
        self.outbox = outbox;
        self.update(Input::Opened { me, waiting }).await;
        if let Some(problem) = problem {
            self.model.say(&problem);
        }
    }

    async fn update(&mut self, input: Input) {
        let mut effects = self.model.update(input);
        effects.reverse();
        while let Some(effect) = effects.pop() {
            if let Some(input) = self.run(effect).await {
                effects.extend(self.model.update(input).into_iter().rev());
            }
        }
    }

    /// Does what the model asks for; what takes its time is left to a task.
    async fn run(&mut self, effect: Effect) -> Option<Input> {
        let (client, teller, session) = (self.client.clone(), self.teller.clone(), self.session);
        let answer = move |input| {
            let _ = teller.send(News::Answer(session, input));
        };
        match effect {
            Effect::Subscribe => {
                let teller = self.teller.clone();
                tokio::spawn(async move {
                    let subscribed = client.subscribe(SubscribeOptions::default()).await;
                    let _ = teller.send(News::Subscribed(session, Box::new(subscribed)));
                });
            }
            Effect::AskStatus => {
                tokio::spawn(async move { answer(Input::Status(client.cluster_status().await)) });
            }
            Effect::LoadConversations { as_of } => {
                tokio::spawn(async move {
                    let result = conversations(&client).await;
                    answer(Input::Conversations { as_of, result });
                });
            }
            Effect::LoadHistory { peer, page } => {
                tokio::spawn(async move {
                    let result = client.list_history(&peer, page).await;
                    answer(Input::History { peer, result });
                });
            }
            Effect::ListAccounts { filter } => {
                tokio::spawn(async move {
                    let result = accounts(&client, &filter).await;
                    answer(Input::Accounts { filter, result });
                });
            }
            Effect::MarkRead { peer, through } => {
                tokio::spawn(async move {
                    let marked = client.mark_conversation_read(&peer, Some(through)).await;
                    let result = marked.map(|_| ());
                    answer(Input::MarkedRead { peer, result });
                });
            }
            // Waited for, so that the line is there before anything can be told of it.
            Effect::Put { recipient, body } => {
                let result = match &self.outbox {
                    Some((outbox, _)) => {
                        let put = outbox.put(&recipient, &body).await;
                        put.map_err(|error| error.to_string())
                    }
                    None => Err("not sent: there is no outbox; see the message above".into()),
                };
                return Some(Input::Put {
                    recipient,
                    body,
                    result,
                });
            }
            Effect::Delete { what, scope } => {
                tokio::spawn(async move {
                    let result = client.delete_messages(&[what], scope).await.map(|_| ());
                    answer(Input::Deleted { what, result });
                });
            }
            Effect::Login { name, password } => self.log_in(name, password, AccountIs::There),
            Effect::Register { name, password } => self.log_in(name, password, AccountIs::New),
            Effect::Logout => {
                self.log_out().await;
                return Some(Input::LoggedOut);
            }
            Effect::Redraw => self.wants_redraw = true,
            Effect::Quit => self.is_over = true,
        }
        None
    }

    fn log_in(&self, name: String, password: String, account: AccountIs) {
        let (client, teller) = (self.client.clone(), self.teller.clone());
        tokio::spawn(async move {
            let result = async {
                if account == AccountIs::New {
                    client.register(&name, &password).await?;
                }
                client.login(&name, &password).await
            };
            let _ = teller.send(match result.await {
                Ok(logged_in) => News::LoggedIn(Box::new(logged_in)),
                Err(error) => News::Input(Input::LoginFailed(error)),
            });
        });
    }

    async fn log_out(&mut self) {
        self.close().await;
        self.session += 1;
        let client = self.client.clone();
        // In a session of its own, so that a new login is not undone when this one is answered late.
        let leaving = client.with_session(client.session_token());
        client.set_session_token(None);
        tokio::spawn(async move { leaving.logout(LogoutScope::ThisSession).await });
        if let Err(problem) = self.keep.logged_out() {
            self.model.say(&problem);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AccountIs {
    There,
    New,
}

async fn next_event(subscription: &mut Option<Subscription>) -> Option<Result<Event, Error>> {
    match subscription {
        Some(subscription) => subscription.next().await,
        None => std::future::pending().await,
    }
}

async fn next_of_outbox(outbox: &mut Option<(Outbox, OutboxEvents)>) -> Option<OutboxEvent> {
    match outbox {
        Some((_, events)) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn conversations(client: &Client) -> Result<Vec<Conversation>, Error> {
    let mut all = Vec::new();
    let mut request = Some(PageRequest::first(100));
    while let Some(page) = request.filter(|_| all.len() < MOST_LISTED as usize) {
        let page = client.list_conversations(page).await?;
        request = page.next_request(100);
        all.extend(page.items);
    }
    Ok(all)
}

/// Accounts that match a pattern, or whose names hold what was typed.
async fn accounts(client: &Client, typed: &str) -> Result<Vec<crate::types::Account>, Error> {
    let typed = typed.trim();
    let is_pattern = typed.contains(['*', '?', '[']) || typed.starts_with("regex:");
    let pattern = match is_pattern || typed.is_empty() {
        true => typed.to_owned(),
        false => format!("*{typed}*"),
    };
    let page = PageRequest::first(MOST_LISTED);
    Ok(client.list_accounts(&pattern, page).await?.items)
}
