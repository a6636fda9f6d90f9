//! What people type: names, patterns, texts, ids.
#![no_main]

use chat_core::{AccountId, Body, MessageId, Pattern, RequestId, SessionId, Username};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = Username::parse(text) {
        let again = Username::parse(name.as_str()).expect("a name is a name");
        assert_eq!(again, name);
        assert_eq!(again.skeleton(), name.skeleton());
        assert_eq!(Username::parse_existing(text).expect("as well"), name);
    }
    if let Ok(pattern) = Pattern::parse(text) {
        pattern.matches("ada");
        pattern.matches(text);
    }
    if let Ok(body) = Body::parse(text, Body::DEFAULT_LIMIT) {
        assert!(body.as_str().len() <= Body::DEFAULT_LIMIT);
    }
    let _ = text.parse::<AccountId>();
    let _ = text.parse::<MessageId>();
    let _ = text.parse::<RequestId>();
    let _ = text.parse::<SessionId>();
});
