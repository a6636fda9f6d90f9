//! Patterns over user names.

use regex::{Regex, RegexBuilder};

use precis_profiles::{UsernameCaseMapped, precis_core::profile::Rules};

/// Which accounts to list: a glob over the whole name, or, after `regex:`, a regular expression anywhere in it.
///
/// In a glob, `*` stands for any characters, `?` for one, `[abc]` and `[a-z]` for one of these, `[!abc]` for any other.
/// No name holds any of these characters, so that none needs escaping. Case makes no difference.
#[derive(Clone, Debug)]
pub struct Pattern {
    regex: Regex,
    /// What every name that matches starts with.
    prefix: String,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Longer than any useful pattern.
    #[error("the pattern has {0} characters and may have at most 256: shorten it")]
    TooLong(usize),
    /// A `[` has no `]`.
    #[error("`[` at character {0} has no matching `]`: close it, as in `[a-z]`")]
    UnclosedSet(usize),
    /// `[]` matches nothing.
    #[error("`[]` at character {0} holds no characters: name some, as in `[abc]`")]
    EmptySet(usize),
    /// A range that runs backwards.
    #[error("the range `{0}-{1}` runs backwards: write `{1}-{0}`")]
    BackwardRange(char, char),
    /// The regular expression does not parse, or would be too large.
    #[error("the regular expression is refused ({0}): correct it, or use a glob such as `al*`")]
    Regex(String),
}

impl Pattern {
    /// The most characters of a pattern.
    pub const MAX_CHARS: usize = 256;

    /// Parses a pattern.
    ///
    /// # Errors
    ///
    /// Each refusal says where and what to change.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let length = text.chars().count();
        if length > Self::MAX_CHARS {
            return Err(PatternError::TooLong(length));
        }
        match text.strip_prefix("regex:") {
            Some(expression) => Ok(Self {
                regex: compile(expression)?,
                prefix: String::new(),
            }),
            None => glob(&normalised(text)),
        }
    }

    /// The pattern that every name matches.
    pub fn all() -> Self {
        glob("*").expect("a star is a pattern")
    }

    /// Whether a name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }

    /// What every name that matches starts with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Names are stored in lower case and composed form; a pattern is compared in the same form.
fn normalised(text: &str) -> String {
    let profile = UsernameCaseMapped::new();
    profile
        .case_mapping_rule(text)
        .and_then(|text| profile.normalization_rule(text))
        .map_or_else(|_| text.to_lowercase(), std::borrow::Cow::into_owned)
}

fn glob(text: &str) -> Result<Pattern, PatternError> {
    let characters: Vec<char> = text.chars().collect();
    let literal = characters
        .iter()
        .take_while(|character| !"*?[".contains(**character));
    let prefix: String = literal.collect();
    let mut expression = String::from("^");
    let mut at = 0;
    while let Some(character) = characters.get(at) {
        match character {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '[' => at = set(&characters, at, &mut expression)?,
            literal => push_literal(*literal, &mut expression),
        }
        at += 1;
    }
    expression.push('$');
    Ok(Pattern {
        regex: compile(&expression)?,
        prefix,
    })
}

/// Writes the set that starts at `open`, and says where it ends.
fn set(characters: &[char], open: usize, expression: &mut String) -> Result<usize, PatternError> {
    let is_negated = matches!(characters.get(open + 1), Some('!' | '^'));
    let start = open + 1 + usize::from(is_negated);
    let length = characters[start..]
        .iter()
        .position(|character| *character == ']');
    let members = match length {
        None => return Err(PatternError::UnclosedSet(open + 1)),
        Some(0) => return Err(PatternError::EmptySet(open + 1)),
        Some(length) => &characters[start..start + length],
    };
    expression.push_str(if is_negated { "[^" } else { "[" });
    let mut rest = members;
    while let Some((first, after)) = rest.split_first() {
        rest = match after {
            ['-', last, ..] if last < first => {
                return Err(PatternError::BackwardRange(*first, *last));
            }
            ['-', last, after @ ..] => {
                push_literal(*first, expression);
                expression.push('-');
                push_literal(*last, expression);
                after
            }
            _ => {
                push_literal(*first, expression);
                after
            }
        };
    }
    expression.push(']');
    Ok(start + members.len())
}

fn push_literal(character: char, expression: &mut String) {
    expression.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
}

/// The parser's message without its drawing of the expression: the last line says what is wrong.
fn in_one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

fn compile(expression: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(expression)
        .case_insensitive(true)
        .size_limit(1 << 20)
        .dfa_size_limit(1 << 20)
        .nest_limit(50)
        .build()
        .map_err(|error| PatternError::Regex(in_one_line(&error.to_string())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, matching, other) in [
            ("alice", "alice", "alicea"),
            ("al*", "al", "bal"),
            ("*e", "alice", "bobby"),
            ("a?c", "abc", "ac"),
            ("AL*", "alice", "bob"),
            ("MÜ*", "müller", "muller"),
            ("[a-c]*", "bob", "dora"),
            ("[!a-c]*", "dora", "bob"),
            ("[^ab]x", "cx", "ax"),
            ("x[a.-]y", "x-y", "xby"),
            ("a.c", "a.c", "abc"),
            ("a+(b", "a+(b", "aab"),
            ("regex:^a.*e$", "alice", "alicea"),
            ("regex:li", "alice", "bob"),
            ("regex:^A\\w+$", "alice", "bob"),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            assert!(
                parsed.matches(matching),
                "{pattern} does not match {matching}"
            );
            assert!(!parsed.matches(other), "{pattern} matches {other}");
        }
        assert!(Pattern::all().matches("anything"));
    }

    #[test]
    fn the_literal_front_of_a_glob_narrows_the_search() {
        for (pattern, prefix) in [
            ("al*", "al"),
            ("al", "al"),
            ("*", ""),
            ("a[b]", "a"),
            ("Al?", "al"),
            ("regex:^al", ""),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().prefix(),
                prefix,
                "{pattern}"
            );
        }
    }

    #[test]
    fn each_refusal_says_what_is_wrong() {
        for (pattern, error) in [
            ("a[bc", PatternError::UnclosedSet(2)),
            ("a[]", PatternError::EmptySet(2)),
            ("a[!]", PatternError::EmptySet(2)),
            ("[z-a]", PatternError::BackwardRange('z', 'a')),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap_err(), error);
        }
        assert_eq!(
            Pattern::parse("regex:(").unwrap_err(),
            PatternError::Regex("unclosed group".to_owned()),
        );
        assert!(matches!(
            Pattern::parse("regex:(a{1000}){1000}"),
            Err(PatternError::Regex(_))
        ));
        assert_eq!(
            Pattern::parse(&"a".repeat(257)).unwrap_err(),
            PatternError::TooLong(257)
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_match_starts_with_the_prefix(text in "\\PC{0,40}", name in "[a-c]{0,6}") {
            if let Ok(pattern) = Pattern::parse(&text)
                && pattern.matches(&name)
            {
                prop_assert!(name.starts_with(pattern.prefix()) || text.starts_with("regex:"));
            }
        }

        #[test]
        fn a_glob_matches_as_an_obvious_one_does(glob in "[ab*?]{0,8}", name in "[ab]{0,8}") {
            let (glob_bytes, name_bytes) = (glob.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::parse(&glob).unwrap().matches(&name), obvious(glob_bytes, name_bytes));
        }
    }

    fn obvious(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => obvious(rest, name),
            (Some((b'*', rest)), Some((_, after))) => obvious(rest, name) || obvious(glob, after),
            (Some((b'?', rest)), Some((_, after))) => obvious(rest, after),
            (Some((literal, rest)), Some((first, after))) => {
                literal == first && obvious(rest, after)
            }
            _ => false,
        }
    }
}
