//! HTML that cannot be broken by a name: markup stands in the program's own literals, and
//! everything else is escaped.

use std::fmt::{self, Display, Write};

/// A piece of HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    /// Adds markup. Only a literal of the program lives long enough to be taken.
    pub(super) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, escaped for elements and for attributes in quotation marks.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string does not fail.
        write!(Escaped(&mut self.0), "{text}").ok();
        self
    }

    /// Adds another piece.
    pub(super) fn add(&mut self, other: &Self) -> &mut Self {
        self.0.push_str(&other.0);
        self
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// A writer that escapes.
struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c if c.is_control() || turns_text(c) => self.0.push(char::REPLACEMENT_CHARACTER),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// True for characters that change the direction of the text after them: a name could show as
/// another name.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        for (text, expected) in [
            ("a b", "a b"),
            ("<script>", "&lt;script&gt;"),
            ("\"' onload=x", "&quot;&#39; onload=x"),
            ("&amp;", "&amp;amp;"),
            (
                "a\r\nevent: x\u{202e}b",
                "a\u{fffd}\u{fffd}event: x\u{fffd}b",
            ),
            ("\u{e9}\u{1f600}", "\u{e9}\u{1f600}"),
        ] {
            let mut html = Html::default();
            html.markup("<b>").text(text);
            assert_eq!(html.as_str(), format!("<b>{expected}"));
        }
    }
}
