//! Which representation of an output is shown: an image, else markdown, else plain text.
//!
//! Where the plain text is only a name (`<IPython.core.display.Math object>`), what can be read is
//! taken instead: LaTeX, JSON. All others stay available beside the one that is shown.

use super::super::event::Representation;

/// The longest LaTeX or JSON that is shown in place of a name, in bytes.
const LONGEST_SOURCE: usize = 4 * 1024;

/// Images that hosts show, and how each begins in base64.
const IMAGES: [(&str, &str); 2] = [("image/png", "iVBORw0KGgo"), ("image/jpeg", "/9j/")];

/// The representation that is shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The image at this place of the bundle, and its size in bytes.
    Image { at: usize, bytes: usize },
    /// The text at this place of the bundle; `partly` when another representation says more.
    Text { at: usize, partly: bool },
    /// Words that stand for representations of which none is a text.
    Words(String),
    /// There is no representation.
    Nothing,
}

impl Shown {
    /// Chooses one of an output's representations; base64 loses its line breaks.
    pub(super) fn choose(bundle: &mut [Representation]) -> Self {
        for (mime, begins) in IMAGES {
            let found = bundle.iter_mut().enumerate().find(|(_, one)| one.mime == mime);
            if let Some((at, image)) = found.filter(|(_, image)| !image.json)
                && let Some(bytes) = clean(&mut image.value, begins)
            {
                return Self::Image { at, bytes };
            }
        }
        let value = |mime: &str| {
            let found = bundle.iter().enumerate().find(|(_, one)| one.mime == mime);
            let found = found.map(|(at, one)| (at, one.value.as_str()));
            found.filter(|(_, value)| !value.trim().is_empty())
        };
        if let Some((at, _)) = value("text/markdown") {
            return Self::Text { at, partly: false };
        }
        let plain = value("text/plain");
        if let Some((at, _)) = plain.filter(|(_, text)| !is_name(text)) {
            let drawn = bundle.iter().any(|one| one.mime == "image/svg+xml");
            return Self::Text { at, partly: drawn };
        }
        let source = ["text/latex", "application/json"].into_iter().find_map(value);
        if let Some((at, _)) = source.filter(|(_, text)| text.len() <= LONGEST_SOURCE) {
            return Self::Text { at, partly: false };
        }
        let kinds: Vec<&str> = bundle.iter().map(|one| one.mime.as_str()).collect();
        match plain {
            Some((at, _)) => Self::Text { at, partly: kinds.len() > 1 },
            // An object whose text is empty shows nothing.
            None if kinds.iter().all(|kind| *kind == "text/plain") => Self::Nothing,
            None => Self::Words(format!("[output without text: {}]", kinds.join(", "))),
        }
    }
}

/// Whether a text only names an object of IPython's: it says nothing of what is shown.
fn is_name(text: &str) -> bool {
    text.starts_with("<IPython.core.display.") && text.ends_with(" object>")
}

/// Takes line breaks out of base64; its size decoded, or nothing where it is not such an image: a
/// host would choke on it.
fn clean(text: &mut String, begins: &str) -> Option<usize> {
    use base64::Engine;
    text.retain(|c| !c.is_ascii_whitespace());
    if !text.starts_with(begins) {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(&*text).ok()?;
    (!decoded.is_empty()).then_some(decoded.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(bundle: &[(&str, &str)]) -> Shown {
        let one = |(mime, value): &(&str, &str)| Representation {
            mime: (*mime).into(),
            value: (*value).into(),
            json: false,
        };
        Shown::choose(&mut bundle.iter().map(one).collect::<Vec<_>>())
    }

    fn text(at: usize, partly: bool) -> Shown {
        Shown::Text { at, partly }
    }

    fn words(words: &str) -> Shown {
        Shown::Words(words.into())
    }

    #[test]
    fn the_best_that_a_model_can_read_is_shown() {
        let figure = ("text/plain", "<Figure size 640x480>");
        assert_eq!(
            choose(&[figure, ("image/png", "iVBORw0KGgoA\n")]),
            Shown::Image { at: 1, bytes: 9 }
        );
        assert_eq!(choose(&[figure, ("image/png", "%%%")]), text(0, false));
        assert_eq!(choose(&[("text/plain", "a"), ("text/markdown", "# a")]), text(1, false));
        assert_eq!(choose(&[("text/html", "<table>"), ("text/plain", "a b")]), text(1, false));
        let math = ("text/plain", "<IPython.core.display.Math object>");
        assert_eq!(choose(&[math, ("text/latex", "$x$")]), text(1, false));
        let html = ("text/plain", "<IPython.core.display.HTML object>");
        assert_eq!(choose(&[html, ("text/html", "<b>")]), text(0, true));
        assert_eq!(choose(&[("text/html", "<b>")]), words("[output without text: text/html]"));
        let jpeg = ("image/jpeg", "iVBORw0KGgoA");
        assert_eq!(choose(&[jpeg]), words("[output without text: image/jpeg]"));
        assert_eq!(choose(&[]), Shown::Nothing);
        assert_eq!(choose(&[("text/plain", "")]), Shown::Nothing);
    }
}
