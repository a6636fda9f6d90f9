//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::composer::{Composer, Motion};
use super::overlay::{
    Deletion, Doomed, Field, Login, LoginState, Overlay, Picker, Search, Searching,
};
use super::searching::Toward;
use super::{Effect, LineState, Model, Place, Side};
use crate::types::DeleteScope;

impl Model {
    pub(super) fn key(&mut self, key: KeyEvent) -> Vec<Effect> {
        if key.kind == KeyEventKind::Release {
            return Vec::new();
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        if control && key.code == KeyCode::Char('l') {
            return vec![Effect::Redraw];
        }
        match &self.overlay {
            Overlay::None => self.key_here(key),
            Overlay::Help => {
                self.overlay = Overlay::None;
                Vec::new()
            }
            Overlay::Picker(_) => self.key_in_picker(key),
            Overlay::Search(_) => self.key_in_search(key),
            Overlay::Selection(place) => self.key_in_selection(key, *place),
            Overlay::Confirm(deletion) => {
                let deletion = deletion.clone();
                self.key_in_confirmation(key, deletion)
            }
            Overlay::Login(_) => self.key_in_login(key),
        }
    }

    pub(super) fn pasted(&mut self, text: &str) -> Vec<Effect> {
        // Terminals send the ends of lines as the Enter key does.
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let one_line = || text.replace('\n', " ");
        match &mut self.overlay {
            Overlay::None => self.composer.insert(&text),
            Overlay::Picker(picker) => picker.filter.insert(&one_line()),
            Overlay::Search(search) => {
                search.query.insert(&one_line());
                return self.search(Toward::Here);
            }
            Overlay::Login(login) => login.editor().insert(text.trim_end_matches('\n')),
            Overlay::Help | Overlay::Selection(_) | Overlay::Confirm(_) => {}
        }
        Vec::new()
    }

    fn key_here(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        match key.code {
            KeyCode::Enter if alt => self.composer.insert("\n"),
            KeyCode::Enter => return self.enter(),
            KeyCode::Char('d') if control && self.composer.is_empty() => return vec![Effect::Quit],
            KeyCode::Char('c') if control && self.composer.is_empty() => {
                self.say("Ctrl-D or /quit leaves");
            }
            KeyCode::Char('c') if control => self.composer.clear(),
            KeyCode::Char('n') if control => return self.next(1),
            KeyCode::Char('p') if control => return self.next(-1),
            KeyCode::Char('o') if control => return self.pick(""),
            KeyCode::F(2) => return self.pick(""),
            KeyCode::Char('r') if control => self.overlay = Overlay::Search(Search::default()),
            KeyCode::Char('x') if control => return self.select_newest(),
            KeyCode::F(1) => self.overlay = Overlay::Help,
            KeyCode::Char('?') if alt => self.overlay = Overlay::Help,
            KeyCode::Char('a') if alt => return self.next_unread(),
            KeyCode::Char(digit @ '0'..='9') if alt => {
                // As on the keyboard: 1 to 9, then 0.
                let at = (digit as usize - '0' as usize + 9) % 10;
                return self.switch_to(at);
            }
            KeyCode::Up if alt => return self.select_newest(),
            KeyCode::PageUp => return self.scroll_up(self.page()),
            KeyCode::PageDown => self.scroll_down(self.page()),
            KeyCode::Home if control => return self.scroll_up(usize::MAX / 4),
            KeyCode::Char('<') if alt => return self.scroll_up(usize::MAX / 4),
            KeyCode::End if control => self.go_to_bottom(),
            KeyCode::Char('>') if alt => self.go_to_bottom(),
            KeyCode::Up => self.composer.older(),
            KeyCode::Down => self.composer.newer(),
            KeyCode::Esc => self.go_to_bottom(),
            _ => {
                edit(&mut self.composer, key);
            }
        }
        Vec::new()
    }

    fn go_to_bottom(&mut self) {
        if let Some(conversation) = self.open_mut() {
            conversation.go_to_bottom();
        }
    }

    /// Another conversation, so many further on in the list.
    fn next(&mut self, by: isize) -> Vec<Effect> {
        let count = self.conversations.len();
        if count == 0 {
            return Vec::new();
        }
        let at = match self.current {
            Some(at) => (at as isize + by).rem_euclid(count as isize) as usize,
            None => 0,
        };
        self.switch_to(at)
    }

    fn next_unread(&mut self) -> Vec<Effect> {
        let count = self.conversations.len();
        let from = self.current.map_or(0, |at| at + 1);
        let mut others = (0..count).map(|n| (from + n) % count);
        match others.find(|at| self.conversations[*at].unread > 0) {
            Some(at) => self.switch_to(at),
            None => Vec::new(),
        }
    }

    pub(super) fn pick(&mut self, filter: &str) -> Vec<Effect> {
        let mut picker = Picker::default();
        picker.filter.set(filter);
        self.overlay = Overlay::Picker(picker);
        vec![Effect::ListAccounts {
            filter: filter.to_owned(),
        }]
    }

    fn key_in_picker(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let Overlay::Picker(picker) = &mut self.overlay else {
            return Vec::new();
        };
        let last = picker.offered().len().saturating_sub(1);
        match key.code {
            KeyCode::Esc => self.overlay = Overlay::None,
            KeyCode::Char('c' | 'g' | 'o') if control => self.overlay = Overlay::None,
            KeyCode::Up => picker.chosen = picker.chosen.saturating_sub(1),
            KeyCode::Char('p') if control => picker.chosen = picker.chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Tab => picker.chosen = (picker.chosen + 1).min(last),
            KeyCode::Char('n') if control => picker.chosen = (picker.chosen + 1).min(last),
            KeyCode::Enter => return self.picked(),
            _ => {
                if edit(&mut picker.filter, key) == Edited::Text {
                    picker.chosen = 0;
                    let filter = picker.filter.text().to_owned();
                    return vec![Effect::ListAccounts { filter }];
                }
            }
        }
        Vec::new()
    }

    fn picked(&mut self) -> Vec<Effect> {
        let Overlay::Picker(picker) = &self.overlay else {
            return Vec::new();
        };
        let chosen = picker.offered().get(picker.chosen).map(|a| (*a).clone());
        let typed = picker.filter.text().trim().to_owned();
        let is_listed = matches!(picker.accounts, super::Accounts::Found(_));
        let at = match chosen {
            Some(account) => {
                let at = self.index_of(&account);
                self.conversations[at].learn(&account);
                at
            }
            // Nobody can say who there is at the moment, so the user is believed.
            None if !is_listed && !typed.is_empty() => self.index_of_name(&typed),
            None => return Vec::new(),
        };
        self.overlay = Overlay::None;
        self.switch_to(at)
    }

    fn key_in_search(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let Overlay::Search(search) = &mut self.overlay else {
            return Vec::new();
        };
        match key.code {
            // Where one is, one stays; Esc at the composer goes back to the newest message.
            KeyCode::Esc => self.overlay = Overlay::None,
            KeyCode::Char('c' | 'g') if control => self.overlay = Overlay::None,
            KeyCode::Enter | KeyCode::Up => return self.search(Toward::Older),
            KeyCode::Char('r' | 'p') if control => return self.search(Toward::Older),
            KeyCode::Down => return self.search(Toward::Newer),
            KeyCode::Char('s' | 'n') if control => return self.search(Toward::Newer),
            KeyCode::PageUp => return self.scroll_up(self.page()),
            KeyCode::PageDown => self.scroll_down(self.page()),
            _ => {
                if edit(&mut search.query, key) == Edited::Text {
                    search.state = Searching::Idle;
                    return self.search(Toward::Here);
                }
            }
        }
        Vec::new()
    }

    fn select_newest(&mut self) -> Vec<Effect> {
        // What is at the edge of the screen is what the user looks at.
        if let Some((place, _)) = self.open().and_then(|c| c.edge()) {
            self.overlay = Overlay::Selection(place);
            self.show_place(place);
        }
        Vec::new()
    }

    fn key_in_selection(&mut self, key: KeyEvent, place: Place) -> Vec<Effect> {
        let Some(open) = self.open() else {
            self.overlay = Overlay::None;
            return Vec::new();
        };
        let timeline = &open.timeline;
        let to = match key.code {
            KeyCode::Up | KeyCode::Char('k' | 'p') => {
                let above = timeline.upwards(place).find(|(at, _)| *at != place);
                let Some((above, _)) = above else {
                    return self.scroll_up(1);
                };
                above
            }
            KeyCode::Down | KeyCode::Char('j' | 'n') => match timeline.below(place).next() {
                Some((below, _)) => below,
                None => place,
            },
            KeyCode::Char('d') | KeyCode::Delete => {
                self.ask(place, DeleteScope::ForMe);
                return Vec::new();
            }
            KeyCode::Char('D') => {
                self.ask(place, DeleteScope::ForBoth);
                return Vec::new();
            }
            KeyCode::Esc | KeyCode::Enter | KeyCode::Char(_) => {
                self.overlay = Overlay::None;
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        self.overlay = Overlay::Selection(to);
        self.show_place(to);
        Vec::new()
    }

    /// Asks whether a message shall really go.
    fn ask(&mut self, place: Place, scope: DeleteScope) {
        let Some(line) = self.open().and_then(|c| c.timeline.line(place)) else {
            self.overlay = Overlay::None;
            return;
        };
        let what = match (line.id, place, &line.state) {
            (Some(id), ..) => Doomed::Message(id),
            (None, Place::Outgoing(request), LineState::Refused(_)) => Doomed::Refused(request),
            (None, ..) => {
                self.say("the message is on its way; it can be deleted once it is stored");
                return;
            }
        };
        if scope == DeleteScope::ForBoth && line.side == Side::Theirs {
            self.say("only your own messages can be deleted for both; d deletes it for you");
            return;
        }
        self.overlay = Overlay::Confirm(Deletion {
            what,
            scope,
            body: line.body.clone(),
            place,
        });
    }

    fn key_in_confirmation(&mut self, key: KeyEvent, deletion: Deletion) -> Vec<Effect> {
        match key.code {
            KeyCode::Char('y' | 'Y') => {
                self.overlay = Overlay::None;
                match (deletion.what, deletion.what.message()) {
                    (_, Some(what)) => {
                        let scope = deletion.scope;
                        return vec![Effect::Delete { what, scope }];
                    }
                    (Doomed::Refused(request), _) => {
                        if let Some(conversation) = self.open_mut() {
                            conversation.timeline.drop_refused(request);
                        }
                    }
                    (Doomed::Message(_), None) => {}
                }
            }
            _ => self.overlay = Overlay::Selection(deletion.place),
        }
        Vec::new()
    }

    fn key_in_login(&mut self, key: KeyEvent) -> Vec<Effect> {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        let Overlay::Login(login) = &mut self.overlay else {
            return Vec::new();
        };
        if login.state == LoginState::UnderWay && !control {
            return Vec::new();
        }
        match key.code {
            KeyCode::Esc => return vec![Effect::Quit],
            KeyCode::Char('c' | 'd') if control => return vec![Effect::Quit],
            KeyCode::Tab | KeyCode::BackTab | KeyCode::Up | KeyCode::Down => {
                login.field = match login.field {
                    Field::Name => Field::Password,
                    Field::Password => Field::Name,
                };
            }
            KeyCode::Enter if login.field == Field::Name => login.field = Field::Password,
            KeyCode::Enter => {
                return submit(login, |name, password| Effect::Login { name, password });
            }
            KeyCode::Char('r') if control => {
                return submit(login, |name, password| Effect::Register { name, password });
            }
            _ => {
                edit(login.editor(), key);
            }
        }
        Vec::new()
    }
}

fn submit(login: &mut Login, effect: impl FnOnce(String, String) -> Effect) -> Vec<Effect> {
    let (name, password) = (login.name.text().trim(), login.password.text());
    if name.is_empty() || password.is_empty() {
        login.state = LoginState::Failed("write a name and a password".into());
        return Vec::new();
    }
    let effect = effect(name.to_owned(), password.to_owned());
    login.state = LoginState::UnderWay;
    vec![effect]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edited {
    Text,
    /// The cursor at most.
    Nothing,
}

/// The keys of readline.
fn edit(line: &mut Composer, key: KeyEvent) -> Edited {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    let before = line.text().len();
    match (key.code, control, alt) {
        (KeyCode::Char('a'), true, false) | (KeyCode::Home, ..) => line.go(Motion::Start),
        (KeyCode::Char('e'), true, false) | (KeyCode::End, ..) => line.go(Motion::End),
        (KeyCode::Left, true, _) | (KeyCode::Left, _, true) => line.go(Motion::WordLeft),
        (KeyCode::Right, true, _) | (KeyCode::Right, _, true) => line.go(Motion::WordRight),
        (KeyCode::Char('b'), true, false) | (KeyCode::Left, ..) => line.go(Motion::Left),
        (KeyCode::Char('f'), true, false) | (KeyCode::Right, ..) => line.go(Motion::Right),
        (KeyCode::Char('b'), false, true) => line.go(Motion::WordLeft),
        (KeyCode::Char('f'), false, true) => line.go(Motion::WordRight),
        (KeyCode::Backspace, false, true) => line.cut(Motion::WordLeft),
        (KeyCode::Char('h'), true, false) | (KeyCode::Backspace, ..) => line.delete(Motion::Left),
        (KeyCode::Char('d'), true, false) | (KeyCode::Delete, ..) => line.delete(Motion::Right),
        (KeyCode::Char('d'), false, true) => line.cut(Motion::WordRight),
        (KeyCode::Char('w'), true, false) => line.cut(Motion::SpaceLeft),
        (KeyCode::Char('u'), true, false) => line.cut(Motion::Start),
        (KeyCode::Char('k'), true, false) => line.cut(Motion::End),
        (KeyCode::Char('y'), true, false) => line.paste(),
        (KeyCode::Char('t'), true, false) => {
            line.transpose();
            return Edited::Text;
        }
        (KeyCode::Char(c), false, false) => line.insert(c.encode_utf8(&mut [0; 4])),
        // AltGr comes as both on some systems, and means neither.
        (KeyCode::Char(c), true, true) => line.insert(c.encode_utf8(&mut [0; 4])),
        _ => {}
    }
    match line.text().len() == before {
        true => Edited::Nothing,
        false => Edited::Text,
    }
}
