//! User names: what may be one, and which two look alike.

use std::{fmt, sync::Arc};

use precis_profiles::{
    UsernameCaseMapped,
    precis_core::{self, profile::Profile},
};
use serde::{Deserialize, Deserializer, Serialize};

/// A user name in its normal form, by which accounts are found.
///
/// Parsed once, at the edge; from there on the normal form travels, so that applying a command reads no Unicode table
/// and two versions cannot disagree.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Username(Arc<str>);

/// What a name looks like: two names with the same skeleton are easily taken for each other (Unicode Technical
/// Standard 39).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Skeleton(Arc<str>);

/// Why a text is no user name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of the text.
    #[error("the user name is empty: choose one of 1 to 32 characters")]
    Empty,
    /// More characters, or more bytes of UTF-8, than a name may have.
    #[error("the user name is too long: at most 32 characters and 128 bytes")]
    TooLong,
    /// The character means something in patterns, addresses or commands.
    #[error("`{0}` cannot be part of a user name: leave out * ? [ ] ~ / : , @ and #")]
    Reserved(char),
    /// A leading `-` would make the name look like an option.
    #[error("a user name cannot start with `-`: put another character first")]
    LeadingDash,
    /// The PRECIS class for identifiers does not hold the character.
    #[error("{} cannot be part of a user name: use letters, digits and simple punctuation", shown(*.0))]
    NotAllowed(char),
    /// Right-to-left and left-to-right characters are mixed in a way that reads ambiguously (RFC 5893).
    #[error("the user name mixes writing directions: use one direction throughout")]
    MixedDirections,
}

impl Username {
    /// The most characters of a name that can be registered.
    pub const MAX_CHARS: usize = 32;

    /// The most bytes of UTF-8 of a name that can be registered.
    pub const MAX_BYTES: usize = 128;

    /// Parses a name that somebody wants to register: PRECIS UsernameCaseMapped (RFC 8265, section 3.3), without the
    /// characters that patterns, addresses and the system itself use.
    ///
    /// # Errors
    ///
    /// Each refusal has its own reason, fit to be shown to the person who typed the name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        // Bounds the work below; no mapping shortens a text this much.
        if text.len() > 8 * Self::MAX_BYTES {
            return Err(NameError::TooLong);
        }
        check_characters(text)?;
        let name = normalised(text)?;
        check_characters(&name)?;
        if name.len() > Self::MAX_BYTES || name.chars().count() > Self::MAX_CHARS {
            return Err(NameError::TooLong);
        }
        Ok(Self(name.into()))
    }

    /// Parses a name that somebody looks for or logs in with. It may also be one that the system gave, such as
    /// `maria~3f9a`, which [`Username::parse`] refuses.
    ///
    /// # Errors
    ///
    /// As [`Username::parse`].
    pub fn parse_existing(text: &str) -> Result<Self, NameError> {
        let given = text.rsplit_once('~').filter(|(_, suffix)| {
            (4..=32).contains(&suffix.len()) && suffix.bytes().all(|byte| byte.is_ascii_hexdigit())
        });
        match given {
            Some((name, suffix)) => Ok(Self::parse(name)?.given(&suffix.to_ascii_lowercase())),
            None => Self::parse(text),
        }
    }

    /// What the name looks like.
    pub fn skeleton(&self) -> Skeleton {
        Skeleton(
            unicode_security::skeleton(&self.0)
                .collect::<String>()
                .into(),
        )
    }

    /// The name in its normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that the system gives to an account that lost its own in a merge.
    pub(crate) fn given(&self, suffix: &str) -> Self {
        Self(format!("{}~{suffix}", self.0).into())
    }

    /// The name of the service itself, which `~` keeps out of reach of [`Username::parse`].
    pub(crate) fn system() -> Self {
        Self("~system".into())
    }

    /// A name as a row's key holds it.
    pub(crate) fn from_row(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= MAX_STORED_BYTES).then(|| Self(text.into()))
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Username {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::from_row(text)
            .ok_or_else(|| serde::de::Error::custom("a user name is empty or too long"))
    }
}

impl Skeleton {
    /// The skeleton's characters; they are not meant to be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A skeleton as a row's key holds it.
    pub(crate) fn from_row(text: &str) -> Option<Self> {
        (text.len() <= MAX_SKELETON_BYTES).then(|| Self(text.into()))
    }
}

impl<'de> Deserialize<'de> for Skeleton {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::from_row(text).ok_or_else(|| serde::de::Error::custom("a skeleton is too long"))
    }
}

/// A registered name, `~` and at most the 32 digits of an id.
const MAX_STORED_BYTES: usize = Username::MAX_BYTES + 1 + 32;

/// One character's prototype has at most 18 characters of 4 bytes.
const MAX_SKELETON_BYTES: usize = Username::MAX_CHARS * 18 * 4;

fn check_characters(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if let Some(reserved) = text
        .chars()
        .find(|character| "*?[]~/:,@#".contains(*character))
    {
        return Err(NameError::Reserved(reserved));
    }
    if text.starts_with('-') {
        return Err(NameError::LeadingDash);
    }
    Ok(())
}

/// Enforces the profile until nothing changes any more, because one pass can make room for another (RFC 8264,
/// section 7).
fn normalised(text: &str) -> Result<String, NameError> {
    // What most names are made of is its own normal form: all that is printable in ASCII is allowed (RFC 8264, section
    // 9.11), and only capitals are mapped.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !byte.is_ascii_uppercase();
    if text.bytes().all(is_plain) {
        return Ok(text.to_owned());
    }
    enforced(text)
}

fn enforced(text: &str) -> Result<String, NameError> {
    let profile = UsernameCaseMapped::new();
    let mut name = text.to_owned();
    for _ in 0..4 {
        let next = profile
            .enforce(name.as_str())
            .map_err(|error| reason(&error))?
            .into_owned();
        if next == name {
            break;
        }
        name = next;
    }
    Ok(name)
}

fn reason(error: &precis_core::Error) -> NameError {
    use precis_core::{Error, UnexpectedError};
    match error {
        Error::Invalid => NameError::MixedDirections,
        Error::BadCodepoint(info)
        | Error::Unexpected(
            UnexpectedError::ContextRuleNotApplicable(info)
            | UnexpectedError::MissingContextRule(info),
        ) => NameError::NotAllowed(char::from_u32(info.cp).unwrap_or(char::REPLACEMENT_CHARACTER)),
        Error::Unexpected(
            UnexpectedError::ProfileRuleNotApplicable | UnexpectedError::Undefined,
        ) => NameError::NotAllowed(char::REPLACEMENT_CHARACTER),
    }
}

fn shown(character: char) -> String {
    match character {
        ' ' => "a space".to_owned(),
        printable if !printable.is_control() && !printable.is_whitespace() => {
            format!("`{printable}`")
        }
        other => format!("U+{:04X}", u32::from(other)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_mapped_to_one_normal_form() {
        for (typed, expected) in [
            ("Maria", "maria"),
            ("MÜLLER", "müller"),
            ("mu\u{308}ller", "müller"),
            ("ｂｏｂ", "bob"),
            ("x-1_y.z", "x-1_y.z"),
            ("петр", "петр"),
            ("שלום", "שלום"),
        ] {
            assert_eq!(
                Username::parse(typed).unwrap().as_str(),
                expected,
                "{typed}"
            );
        }
    }

    #[test]
    fn each_refusal_has_its_own_reason() {
        let long = "a".repeat(33);
        let wide = "𝒂".repeat(2_000);
        for (typed, expected) in [
            ("", NameError::Empty),
            (long.as_str(), NameError::TooLong),
            (wide.as_str(), NameError::TooLong),
            ("a*", NameError::Reserved('*')),
            ("a?b", NameError::Reserved('?')),
            ("a[", NameError::Reserved('[')),
            ("a]", NameError::Reserved(']')),
            ("a~b", NameError::Reserved('~')),
            ("a/b", NameError::Reserved('/')),
            ("a:b", NameError::Reserved(':')),
            ("a,b", NameError::Reserved(',')),
            ("a@b", NameError::Reserved('@')),
            ("a＠b", NameError::Reserved('@')),
            ("#a", NameError::Reserved('#')),
            ("-a", NameError::LeadingDash),
            ("－a", NameError::LeadingDash),
            ("a b", NameError::NotAllowed(' ')),
            ("a\u{0}", NameError::NotAllowed('\0')),
            ("a\u{200b}", NameError::NotAllowed('\u{200b}')),
            ("aא", NameError::MixedDirections),
        ] {
            assert_eq!(Username::parse(typed), Err(expected.clone()), "{typed:?}");
            assert!(expected.to_string().len() > 20);
        }
        assert!(Username::parse(&"a".repeat(32)).is_ok());
    }

    #[test]
    fn names_that_look_alike_share_a_skeleton() {
        let latin = Username::parse("paypal").unwrap();
        let cyrillic = Username::parse("раураl").unwrap();
        assert_ne!(latin, cyrillic);
        assert_eq!(latin.skeleton(), cyrillic.skeleton());
        assert_ne!(
            latin.skeleton(),
            Username::parse("maria").unwrap().skeleton()
        );
    }

    #[test]
    fn a_name_that_the_system_gave_can_be_looked_for_but_not_registered() {
        let given = Username::parse("maria").unwrap().given("3f9a");
        assert_eq!(Username::parse_existing("Maria~3F9A"), Ok(given));
        assert_eq!(Username::parse("maria~3f9a"), Err(NameError::Reserved('~')));
        assert_eq!(
            Username::parse_existing("maria~x"),
            Err(NameError::Reserved('~'))
        );
        assert_eq!(Username::parse_existing("~3f9a"), Err(NameError::Empty));
        assert_eq!(Username::parse_existing("Maria"), Username::parse("maria"));
    }

    proptest! {
        #[test]
        fn plain_names_are_what_the_profile_makes_of_them(text in "[ -~]{1,40}") {
            prop_assert_eq!(normalised(&text), enforced(&text));
        }

        #[test]
        fn parsing_never_panics_and_its_result_is_stable(text in any::<String>()) {
            if let Ok(name) = Username::parse(&text) {
                prop_assert_eq!(Username::parse(name.as_str()), Ok(name.clone()));
                prop_assert!(name.skeleton().as_str().len() <= MAX_SKELETON_BYTES);
            }
        }
    }
}
