//! Spans of time as people write them.

use std::time::Duration;

/// What is expected, for messages.
pub(super) const FORM: &str = "write a whole number and ms, s, min, h or d, such as \"50ms\"";

/// Reads `50ms`, `1s`, `5min`, `12h`, `30d`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_per_unit = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number
        .checked_mul(millis_per_unit)
        .map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, millis) in [
            ("50ms", 50),
            (" 1 s", 1_000),
            ("5min", 300_000),
            ("12h", 43_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1.5s", "1m", "18446744073709551615d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
