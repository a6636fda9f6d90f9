//! Stories: a cluster led by hand, line by line.
//!
//! A story is a list of commands. [`tell`] carries them out and returns what happened, which a test compares with what is
//! written down.
//!
//! | command | what it does |
//! |---|---|
//! | `consistent` | a view needs a majority |
//! | `usual times` | the times of [`Settings`](crate::replica::Settings), not the shorter ones that stories have |
//! | `replicas N` | so many there are; after these two, before all else |
//! | `start A B …` | starts processes; they and the others find each other connected |
//! | `tick N` | so many ticks for everybody who is up; messages arrive after each, unless they are held |
//! | `hold`, `deliver` | from now on messages wait; those that wait arrive, and so do all after them |
//! | `deliver N` | of the messages that wait the first N arrive, and the rest waits on |
//! | `drop`, `drop A B` | loses the messages that wait; those from A to B |
//! | `propose A name` | a client proposes a command to a replica |
//! | `force A` | an operator lets a view start with whoever is there |
//! | `crash A B …` | processes die; nobody is told |
//! | `refused` | everybody finds the connections of those who are down refused |
//! | `jump A` | time jumps for a replica |
//! | `partition A B \| C …` | only replicas of the same side hear each other; `heal` ends it |
//! | `show messages`, `hide messages` | whether messages are told |
//! | `expect leader A`, `expect no leader` | who leads |
//! | `expect state A name …` | the commands that took effect there, in order |
//! | `expect same` | all who are up have the same log and state, and no orphans |
//!
//! Lines that begin with `#`, and empty ones, are for the reader.

mod stage;

use self::stage::Theatre;

/// Carries out the commands of a story. Returns what happened; an error tells what was expected and did not, or which
/// line cannot be understood.
pub fn tell(story: &str) -> Result<String, String> {
    let mut theatre = Theatre::new();
    for (number, line) in (1..).zip(story.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        theatre.say(format_args!("> {line}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        theatre
            .play(&words)
            .map_err(|error| format!("{}line {number}, `{line}`: {error}", theatre.told()))?;
    }
    Ok(theatre.told().to_owned())
}
