//! Text from agents, servers and files, made safe for a terminal. Pure.
//!
//! An agent must never be able to move the cursor, set a title, write the clipboard or turn text round: every
//! control and direction character but line feed and tab is shown instead of sent. Works on any piece of a stream.

use std::borrow::Cow;

/// True for what a terminal would act on.
fn acts(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        // Directional overrides and isolates can make text read as something else (Trojan Source).
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}' => true,
        // Line and paragraph separators, which some terminals act on.
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    }
}

/// The text as a terminal may have it: C0 controls as their pictures (`␛`), the others as U+FFFD.
pub(crate) fn terminal(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // The end of a line as some systems write it.
            '\r' if rest.peek() == Some(&'\n') => {}
            c if !acts(c) => clean.push(c),
            '\0'..='\u{1f}' => clean.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}')),
            '\u{7f}' => clean.push('\u{2421}'),
            _ => clean.push('\u{fffd}'),
        }
    }
    Cow::Owned(clean)
}

/// One line of a list: as [`terminal`], with line feeds and tabs shown too.
pub(crate) fn cell(text: &str) -> String {
    terminal(text).replace('\n', "\u{240a}").replace('\t', "\u{2409}")
}

/// JSON text whose strings hold such characters, with them escaped: the same document, in a safe form.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    // Outside of strings JSON has none of these characters, so each one may become an escape.
    let escape = |c: char| if acts(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_shown_and_plain_text_is_left_alone() {
        assert_eq!(terminal("a\x1b[31mred\x07"), "a␛[31mred␇");
        assert_eq!(terminal("one\r\ntwo\rthree"), "one\ntwo␍three");
        assert_eq!(terminal("\u{9b}2J \u{7f} \u{202e}txt"), "\u{fffd}2J ␡ \u{fffd}txt");
        assert!(matches!(terminal("Grüße, 世界\n\tok"), Cow::Borrowed(_)));
        assert_eq!(cell("a\nb\tc"), "a␊b␉c");
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_acts_on_remains(text in any::<String>()) {
            prop_assert!(!terminal(&text).contains(acts));
            prop_assert!(!cell(&text).contains(char::is_control));
        }

        #[test]
        fn a_json_document_stays_the_same(text in any::<String>()) {
            let written = serde_json::to_string(&text).expect("writes");
            let safe = json(&written);
            prop_assert!(!safe.contains(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).expect("reads"), text);
        }
    }
}
