//! Plots: shown in the terminal where it can, else saved in a folder and named.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64::Engine;

use crate::agent::event::Image;

/// How this terminal shows pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// kitty's protocol, which takes PNG: kitty, Ghostty, Konsole.
    Kitty,
    /// iTerm2's, which takes any: iTerm2, WezTerm, mintty.
    Iterm,
    /// It shows none.
    None,
}

/// Where plots go.
#[derive(Debug)]
pub(super) struct Pictures {
    way: Way,
    folder: PathBuf,
    number: u32,
}

/// The longest part of a picture in one escape sequence of kitty's.
const CHUNK: usize = 4096;

impl Pictures {
    /// For this terminal, or for none.
    pub(super) fn new(terminal: bool, folder: Option<PathBuf>) -> Self {
        let way = if terminal { way(&|name| std::env::var(name).ok()) } else { Way::None };
        Self { way, folder: folder.unwrap_or_default(), number: 0 }
    }

    /// What to print for a picture.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub(super) fn show(&mut self, image: &Image) -> Result<String, String> {
        match self.way {
            Way::Kitty if image.media_type == "image/png" => Ok(kitty(&image.data)),
            Way::Iterm => Ok(iterm(&image.data)),
            _ => self.save(image),
        }
    }

    fn save(&mut self, image: &Image) -> Result<String, String> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(&image.data)
            .map_err(|error| format!("a plot came damaged: {error}"))?;
        let ending = image.media_type.rsplit('/').next().unwrap_or("png");
        let ending = if ending == "jpeg" { "jpg" } else { ending };
        let path = self.write(ending, &bytes).map_err(|error| {
            let folder = if self.folder == Path::new("") { Path::new(".") } else { &self.folder };
            format!("cannot save a plot in `{}`: {error}", folder.display())
        })?;
        Ok(format!("[plot saved: {}]\n", path.display()))
    }

    /// Writes a file of a name that no other has.
    fn write(&mut self, ending: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        if self.folder != Path::new("") {
            std::fs::create_dir_all(&self.folder)?;
        }
        loop {
            self.number += 1;
            let path = self.folder.join(format!("plot-{}.{ending}", self.number));
            match std::fs::File::create_new(&path) {
                Ok(mut file) => return io::Write::write_all(&mut file, bytes).map(|()| path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn way(variable: &dyn Fn(&str) -> Option<String>) -> Way {
    let is = |name: &str, words: &[&str]| {
        variable(name).is_some_and(|value| words.iter().any(|word| value.contains(word)))
    };
    // Multiplexers pass neither protocol through by themselves.
    if variable("TMUX").is_some() || is("TERM", &["screen", "tmux"]) {
        return Way::None;
    }
    let kitty = variable("KITTY_WINDOW_ID").is_some() || variable("KONSOLE_VERSION").is_some();
    if kitty || is("TERM", &["kitty", "ghostty"]) || is("TERM_PROGRAM", &["ghostty"]) {
        return Way::Kitty;
    }
    let iterm = ["iTerm.app", "WezTerm", "mintty"];
    if is("TERM_PROGRAM", &iterm) || is("LC_TERMINAL", &["iTerm2"]) {
        Way::Iterm
    } else {
        Way::None
    }
}

/// Source: <https://sw.kovidgoyal.net/kitty/graphics-protocol/>.
fn kitty(data: &str) -> String {
    let chunks: Vec<&[u8]> = data.as_bytes().chunks(CHUNK).collect();
    let mut shown = String::new();
    for (at, chunk) in chunks.iter().enumerate() {
        let more = u8::from(at + 1 < chunks.len());
        let about = if at == 0 { "a=T,f=100," } else { "" };
        let chunk = String::from_utf8_lossy(chunk);
        shown += &format!("\u{1b}_G{about}m={more};{chunk}\u{1b}\\");
    }
    shown + "\n"
}

/// Source: <https://iterm2.com/documentation-images.html>.
fn iterm(data: &str) -> String {
    format!("\u{1b}]1337;File=inline=1;preserveAspectRatio=1:{data}\u{7}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png() -> Image {
        Image { media_type: "image/png".to_owned(), data: "QUJD".to_owned() }
    }

    #[test]
    fn terminals_are_known_by_their_variables() {
        let check = |set: &[(&str, &str)], expected: Way| {
            let found = |name: &str| {
                let at = set.iter().find(|(set, _)| *set == name);
                at.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(way(&found), expected, "{set:?}");
        };
        check(&[], Way::None);
        check(&[("TERM", "xterm-kitty")], Way::Kitty);
        check(&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "iTerm.app")], Way::Iterm);
        check(&[("TERM_PROGRAM", "WezTerm"), ("TMUX", "/tmp/x")], Way::None);
    }

    #[test]
    fn a_picture_is_cut_as_kitty_wants_it() {
        let long = kitty(&"A".repeat(CHUNK + 1));
        assert!(long.starts_with("\u{1b}_Ga=T,f=100,m=1;AAAA"));
        assert!(long.ends_with("\u{1b}_Gm=0;A\u{1b}\\\n"));
        assert!(iterm("QUJD").contains(":QUJD\u{7}"));
    }

    #[test]
    fn a_picture_that_cannot_be_shown_is_saved_over_no_other() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plot-1.png"), "mine").unwrap();
        let mut pictures = Pictures::new(false, Some(folder.path().to_owned()));
        assert!(pictures.show(&png()).unwrap().contains("plot-2.png"));
        assert_eq!(std::fs::read(folder.path().join("plot-1.png")).unwrap(), b"mine");
        assert_eq!(std::fs::read(folder.path().join("plot-2.png")).unwrap(), b"ABC");
        let damaged = Image { data: "?".to_owned(), ..png() };
        assert!(pictures.show(&damaged).unwrap_err().contains("damaged"));
    }
}
