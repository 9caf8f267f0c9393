//! Which of two values of a setting lets cells do less: what a project's `husk.toml` may say.
//!
//! Cells can write that file, and so can whoever a project was cloned from. So each key has a rule,
//! and a key without one is the user's alone. Pure: knows no file and no source.

use toml::Value;

use crate::jail::Level;

/// What a project's file may say for a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rule {
    /// Anything: no value lets cells do more than another.
    Free,
    /// Nothing: only the user says it, since …
    Users(&'static str),
    /// As much or less; unset is the most.
    AtMost,
    /// The same where 0 is the most, because it means that there is no limit.
    AtMostOrZero,
    /// As much or more.
    AtLeast,
    /// This value, or the other one that the user has.
    Flag(bool),
    /// Words of the same or a higher rank; of two of one rank none may stand for the other.
    Words(&'static [(&'static str, u8)]),
    /// Nothing in the list that is not in the user's.
    Part,
    /// Names that the user's patterns allow.
    PartOfPatterns,
    /// All that is in the user's list, and more.
    More,
    /// A folder in the user's.
    Inside,
    /// Levels that are never weaker; judged with the other key of the two.
    Levels,
    /// A record that is kept from cells at least as well.
    Record,
}

const RUNS: &str = "it says what husk runs outside of any sandbox";
const KEEPS: &str = "husk keeps its own records there";
const FOREIGN: &str = "it opens kernels that husk did not start";
const VARIABLES: &str = "variables decide what programs load and run";
const WRITTEN: &str = "it says what is written down of cells";
const SERVES: &str = "it says whom a server lets in";
const LENDS: &str = "it says where kernels get accounts";
const COUNTS: &str = "it says who counts what servers let through";
const ELSEWHERE: &str = "it says where kernels run";
const UNKNOWN: &str = "nobody has said which of its values is the tighter one";

/// The words of `sandbox.network`, the widest first. Level `landlock` can keep the first two alone.
const NETWORKS: &[(&str, u8)] = &[("full", 0), ("allowlist", 1), ("loopback", 2), ("none", 3)];
/// Neither of the two latter sees all that the other sees.
const MODES: &[(&str, u8)] = &[("off", 0), ("progress", 1), ("window", 1)];

/// The rule of a key; of one that is not listed, [`Rule::Users`].
pub(super) fn rule(key: &str) -> Rule {
    listed(key).unwrap_or(Rule::Users(UNKNOWN))
}

fn listed(key: &str) -> Option<Rule> {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    match section {
        "" => top(name),
        "sandbox" => sandbox(name),
        "dedup" => dedup(name),
        "breaker" => breaker(name),
        "limits" => limits(name),
        "wire" => Some(Rule::AtMost),
        "audit" => Some(Rule::Users(WRITTEN)),
        "http" => Some(Rule::Users(SERVES)),
        "tenant" => Some(Rule::Users(LENDS)),
        "store" => Some(Rule::Users(KEEPS)),
        "shared" => Some(Rule::Users(COUNTS)),
        "gateway" => Some(Rule::Users(ELSEWHERE)),
        _ => sessions(section, name),
    }
}

fn top(name: &str) -> Option<Rule> {
    Some(match name {
        // A call names sessions and kernels just as well.
        "session" | "kernel" | "log" => Rule::Free,
        "workspace" => Rule::Inside,
        "python" => Rule::Users(RUNS),
        "connection_file" => Rule::Users(FOREIGN),
        "data_dir" => Rule::Users(KEEPS),
        _ => return None,
    })
}

fn sandbox(name: &str) -> Option<Rule> {
    Some(match name {
        "isolation" | "min_isolation" => Rule::Levels,
        "network" => Rule::Words(NETWORKS),
        "fs_read" | "fs_write" | "network_hosts" => Rule::Part,
        "env_allow" => Rule::PartOfPatterns,
        "env_set" => Rule::Users(VARIABLES),
        "memory_bytes"
        | "memory_per_process_bytes"
        | "pids"
        | "open_files"
        | "file_size_bytes"
        | "workspace_bytes"
        | "tmp_bytes"
        | "cpus"
        | "cpu_seconds" => Rule::AtMost,
        _ => return None,
    })
}

fn dedup(name: &str) -> Option<Rule> {
    let bound = name.rsplit('.').next().unwrap_or(name);
    Some(match bound {
        "mode" => Rule::Words(MODES),
        "window" | "forget_seconds" => Rule::AtLeast,
        // What does not count when results are compared makes more of them the same.
        "volatile" => Rule::More,
        "same_result_hint"
        | "same_result_refuse"
        | "same_arguments_hint"
        | "same_arguments_refuse"
        | "same_error_refuse"
        | "cycle_turns" => Rule::AtMostOrZero,
        _ => return None,
    })
}

fn breaker(name: &str) -> Option<Rule> {
    Some(match name {
        "consecutive_faults" => Rule::AtMostOrZero,
        "fault_share" | "least_calls" => Rule::AtMost,
        "window_seconds" | "open_seconds" | "max_open_seconds" => Rule::AtLeast,
        "count_timeouts" | "count_errors" => Rule::Flag(true),
        _ => return None,
    })
}

fn limits(name: &str) -> Option<Rule> {
    Some(match name {
        "session.max_cells" | "session.max_seconds" | "session.max_tokens" => Rule::AtMost,
        "requests_per_minute"
        | "tokens_per_hour"
        | "total_requests_per_minute"
        | "total_tokens_per_hour"
        | "concurrent_per_session"
        | "concurrent_total" => Rule::AtMostOrZero,
        _ => return None,
    })
}

fn sessions(section: &str, name: &str) -> Option<Rule> {
    Some(match (section, name) {
        ("cells", "wait") => Rule::Free,
        ("cells", "replay_seconds") => Rule::AtLeast,
        ("cells", "timeout" | "interrupt_grace" | "max_sessions" | "max_queued") => Rule::AtMost,
        ("launch", "timeout" | "pool") => Rule::AtMost,
        ("launch", "packages") => Rule::Users(RUNS),
        ("launch", "attach") => Rule::Flag(false),
        // How much of it an answer shows; there are bounds that nobody can move.
        ("output", "max_text_bytes" | "max_images" | "max_image_bytes") => Rule::Free,
        ("output", "max_kept_bytes") => Rule::AtMost,
        ("sessions", "idle_timeout" | "keep_alive" | "max_age") => Rule::AtMost,
        ("notebook", "file") => Rule::Record,
        ("notebook", "max_text_bytes" | "max_cell_bytes" | "max_file_bytes") => Rule::Free,
        _ => return None,
    })
}

/// Whether `project` lets cells do no more than `own`. Rules that take more than two values to judge
/// ([`Rule::Inside`], [`Rule::Levels`]) allow nothing here.
pub(super) fn as_tight(rule: Rule, project: Option<&Value>, own: Option<&Value>) -> bool {
    match rule {
        Rule::Free => true,
        Rule::Users(_) | Rule::Inside | Rule::Levels => false,
        Rule::AtMost => amount(project) <= amount(own),
        Rule::AtMostOrZero => amount(zero_is_most(project)) <= amount(zero_is_most(own)),
        Rule::AtLeast => amount(project) >= amount(own),
        Rule::Flag(tight) => project == own || project == Some(&Value::Boolean(tight)),
        Rule::Words(words) => {
            project == own || rank(words, project).is_some_and(|rank_| rank_ > rank_of(words, own))
        }
        Rule::Part => texts(project).all(|text| texts(own).any(|known| known == text)),
        Rule::PartOfPatterns => {
            texts(project).all(|text| texts(own).any(|pattern| covers(pattern, text)))
        }
        Rule::More => texts(own).all(|text| texts(project).any(|known| known == text)),
        Rule::Record => record(project) >= record(own),
    }
}

/// A number for comparison; what is unset is beyond all others.
fn amount(value: Option<&Value>) -> f64 {
    match value {
        Some(Value::Integer(number)) => *number as f64,
        Some(Value::Float(number)) => *number,
        _ => f64::INFINITY,
    }
}

fn zero_is_most(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| **value != Value::Integer(0))
}

fn rank(words: &[(&str, u8)], value: Option<&Value>) -> Option<u8> {
    let word = value?.as_str()?;
    words.iter().find(|(known, _)| *known == word).map(|(_, rank)| *rank)
}

/// A word that is not known counts as the tightest, so that none may stand for it.
fn rank_of(words: &[(&str, u8)], value: Option<&Value>) -> u8 {
    rank(words, value).unwrap_or(u8::MAX)
}

fn texts(value: Option<&Value>) -> impl Iterator<Item = &str> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether all names that `text` allows (a closing `*` stands for any ending) `pattern` allows too.
fn covers(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

/// How well what is recorded is kept from cells: not there, in reach, in a folder of its own.
fn record(value: Option<&Value>) -> u8 {
    match value.and_then(Value::as_str) {
        None | Some("none") => 0,
        Some(file) => match file.split_once('/') {
            Some((folder, _)) if !folder.contains('{') => 2,
            _ => 1,
        },
    }
}

/// Whether there is no machine on which the levels of `project` give a kernel that is held more
/// weakly than those of `own` would hold it, or than the weakest of them.
pub(super) fn levels_as_tight(project: &[Level], own: &[Level]) -> bool {
    let known: Vec<Level> = project.iter().chain(own).copied().collect();
    let weakest = own.iter().copied().min();
    (0..1u32 << known.len()).all(|machine| {
        let works = |level: &Level| {
            let at = known.iter().position(|each| each == level).unwrap_or_default();
            *level == Level::None || machine & (1 << at) != 0
        };
        let given = |levels: &[Level]| levels.iter().copied().find(works);
        given(project).is_none_or(|level| Some(level) >= given(own).or(weakest))
    })
}

#[cfg(test)]
mod tests;
