//! "Did you mean …": the known names nearest to one that is not known.
//!
//! Knows nothing of settings: only names, and the last part of each.

/// A known name.
#[derive(Debug, Clone)]
pub(super) struct Name {
    /// The whole name, in lower case.
    pub(super) full: String,
    /// Its last part: `timeout` of `cells.timeout`.
    pub(super) last: String,
    /// What to show for it.
    pub(super) shown: String,
}

/// "did you mean a or b?" for the known names that are nearest to `full` (whose last part is
/// `last`), or `None` when nothing is near enough to be a slip of the keyboard or of the section.
pub(super) fn did_you_mean(full: &str, last: &str, known: &[Name]) -> Option<String> {
    let [full, last] = [full, last].map(|name| name.to_lowercase().replace('-', "_"));
    let scores = known.iter().filter_map(|name| {
        let slip = near(&full, &name.full);
        // The right name in the wrong section counts as one more slip.
        let misplaced = near(&last, &name.last).map(|distance| distance + 1);
        let score = slip.into_iter().chain(misplaced).min()?;
        Some((score, name.shown.as_str()))
    });
    let scores: Vec<_> = scores.collect();
    let best = scores.iter().map(|(score, _)| *score).min()?;
    let names: Vec<_> = scores
        .iter()
        .filter(|(score, _)| *score == best)
        .map(|(_, shown)| format!("`{shown}`"))
        .collect();
    Some(format!("did you mean {}?", names.join(" or ")))
}

/// The distance, if it is small for a name of this length.
fn near(name: &str, known: &str) -> Option<usize> {
    let allowed = (name.chars().count() / 3).max(1);
    Some(distance(name, known)).filter(|distance| *distance <= allowed)
}

/// Levenshtein's distance: how many characters to add, remove or replace.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (removed, from) in from.chars().enumerate() {
        let mut left = removed + 1;
        let mut next = vec![left];
        for (to, above) in to.iter().zip(row.windows(2)) {
            let (diagonal, above) = match above {
                [diagonal, above] => (*diagonal, *above),
                _ => continue,
            };
            let replaced = diagonal + usize::from(from != *to);
            left = replaced.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
