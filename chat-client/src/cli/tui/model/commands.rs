//! What a written line means when it is sent.

use super::overlay::{Overlay, Search};
use super::searching::Toward;
use super::{Effect, Model};
use crate::cli::suggest::closest;

const COMMANDS: [&str; 8] = [
    "delete", "help", "logout", "msg", "quit", "search", "to", "users",
];

impl Model {
    /// Sends what was written, or does what it says.
    pub(super) fn enter(&mut self) -> Vec<Effect> {
        let text = self.composer.text().trim_end().to_owned();
        if text.trim().is_empty() {
            self.composer.clear();
            return Vec::new();
        }
        match text.strip_prefix('/') {
            // Two of them stand for one, for messages that begin so.
            Some(rest) if rest.starts_with('/') => self.send_here(rest),
            Some(command) => self.command(command),
            None => self.send_here(&text),
        }
    }

    fn send_here(&mut self, body: &str) -> Vec<Effect> {
        let Some(open) = self.open() else {
            self.say("to whom? Ctrl-O chooses somebody");
            return Vec::new();
        };
        let recipient = open.address();
        if open.deleted {
            self.say("the account is deleted; nobody would read it");
            return Vec::new();
        }
        self.composer.take();
        vec![Effect::Put {
            recipient,
            body: body.to_owned(),
        }]
    }

    fn command(&mut self, command: &str) -> Vec<Effect> {
        let (name, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let rest = rest.trim();
        let effects = match name {
            "help" | "h" | "?" => {
                self.overlay = Overlay::Help;
                Vec::new()
            }
            "quit" | "q" | "exit" => vec![Effect::Quit],
            "to" | "users" if rest.is_empty() => self.pick(""),
            "users" => self.pick(rest),
            "to" => {
                let at = self.index_of_name(rest);
                self.composer.take();
                return self.switch_to(at);
            }
            "msg" => match rest.split_once(char::is_whitespace) {
                Some((to, body)) => {
                    let at = self.index_of_name(to);
                    self.composer.take();
                    let mut effects = self.switch_to(at);
                    effects.push(Effect::Put {
                        recipient: to.to_owned(),
                        body: body.trim().to_owned(),
                    });
                    return effects;
                }
                None => return self.wrong("write /msg USER TEXT"),
            },
            "search" => {
                let mut search = Search::default();
                search.query.set(rest);
                self.overlay = Overlay::Search(search);
                self.search(Toward::Here)
            }
            "delete" => {
                if let Some((place, _)) = self.open().and_then(|c| c.edge()) {
                    self.overlay = Overlay::Selection(place);
                }
                Vec::new()
            }
            "logout" => vec![Effect::Logout],
            other => {
                let meant = match closest(other, COMMANDS) {
                    Some(command) => format!("did you mean /{command}?"),
                    None => "/help lists them".into(),
                };
                return self.wrong(&format!("there is no command /{other}; {meant}"));
            }
        };
        self.composer.take();
        effects
    }

    /// The line stays, to be corrected.
    fn wrong(&mut self, instead: &str) -> Vec<Effect> {
        self.say(instead);
        Vec::new()
    }
}
