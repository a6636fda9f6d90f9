//! Values of keys, checked.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::error::Lines;
use super::{ConfigError, duration};

/// A span of time, where there is one.
pub(super) fn span(
    lines: &Lines<'_>,
    key: &str,
    text: &Option<Spanned<String>>,
) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = text else {
        return Ok(None);
    };
    match duration::parse(text.get_ref()) {
        Some(span) => Ok(Some(span)),
        None => Err(lines.mistake(
            Some(text.span()),
            format!(
                "{key} `{}` is not a span of time; {}",
                text.get_ref(),
                duration::FORM
            ),
        )),
    }
}

/// A whole number within its range, where there is one.
pub(super) fn number(
    lines: &Lines<'_>,
    key: &str,
    value: &Option<Spanned<i64>>,
    range: RangeInclusive<i64>,
) -> Result<Option<i64>, ConfigError> {
    match value {
        None => Ok(None),
        Some(value) if range.contains(value.get_ref()) => Ok(Some(*value.get_ref())),
        Some(value) => Err(lines.mistake(
            Some(value.span()),
            format!(
                "{key} {} is not between {} and {}; choose a number in between",
                value.get_ref(),
                range.start(),
                range.end()
            ),
        )),
    }
}
