//! Answers that are kept, so that the very same question need not be asked twice.
//!
//! What counts as the same: model, parameters, system prompt, tools and messages, of the same
//! principal and of the same target; not the prompt-cache marks. Kept is only what is a whole answer in
//! words: nothing that was cut, refused, or calls a tool. A fault of the disk loses an answer that
//! could be had again, and is logged.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, SystemTime},
};

use lru::LruCache;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    cache,
    message::Block,
    reply::{Reply, Stop, Usage},
    request::Request,
    route::Target,
};
use crate::base::canon::{Digest, Form};

/// The most answers in memory.
const MOST: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(most) => most,
    None => NonZeroUsize::MIN,
};

/// The most answers on disk; of more the oldest go.
const MOST_FILES: usize = 1000;

/// The most bytes of an answer's file.
const MOST_BYTES: u64 = 4 << 20;

/// Answers in memory, and in a folder if there is one.
pub struct Answers {
    folder: Option<PathBuf>,
    memory: Mutex<LruCache<Digest, Kept>>,
    /// Whose turn it is to ask, by question; gone with the last who waits.
    turns: Mutex<HashMap<Digest, Weak<Semaphore>>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// Seconds since 1970.
    at: u64,
    reply: Reply,
}

impl Default for Answers {
    fn default() -> Self {
        let memory = Mutex::new(LruCache::new(MOST));
        Self { folder: None, memory, turns: Mutex::default() }
    }
}

impl Answers {
    /// Answers that outlive the process, in this folder. Only this user may read it.
    #[must_use]
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder), ..Self::default() }
    }

    /// What tells a question from others.
    pub(super) fn key(target: &Target, request: &Request) -> Digest {
        let request = cache::stripped(request);
        let params = &request.params;
        let question = json!({
            "principal": request.principal,
            "target": [target.kind.word(), target.host],
            "model": params.model, "max_tokens": params.max_tokens, "temperature": params.temperature,
            "params": params.rest,
            "guardrails": target.output_guardrails,
            "system": request.system, "tools": request.tools, "tool_choice": request.tool_choice,
            "messages": request.messages,
        });
        Form::default().digest(&question)
    }

    /// Waits for the turn to ask this question.
    pub(super) async fn turn(&self, key: Digest) -> Option<OwnedSemaphorePermit> {
        let turn = {
            let mut turns = locked(&self.turns);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(&key).and_then(Weak::upgrade);
            let turn = turn.unwrap_or_else(|| Arc::new(Semaphore::new(1)));
            turns.insert(key, Arc::downgrade(&turn));
            turn
        };
        // It is never closed.
        turn.acquire_owned().await.ok()
    }

    /// The answer to this question, if it is not older than this.
    pub(super) async fn find(&self, key: Digest, age: Duration, now: SystemTime) -> Option<Reply> {
        let fresh = |kept: &Kept| seconds(now).saturating_sub(kept.at) < age.as_secs();
        let in_memory = locked(&self.memory).get(&key).filter(|kept| fresh(kept)).cloned();
        let kept = match in_memory {
            Some(kept) => kept,
            None => {
                let kept = read(&self.place(key)?).await.filter(|kept| fresh(kept))?;
                locked(&self.memory).put(key, kept.clone());
                kept
            }
        };
        Some(kept.reply)
    }

    /// Keeps an answer, if it is one to keep.
    pub(super) async fn keep(&self, key: Digest, reply: &Reply, now: SystemTime) {
        if !is_whole(reply) {
            return;
        }
        // Who gets it later takes nothing of the provider.
        let reply = Reply { usage: Usage::default(), ..reply.clone() };
        let kept = Kept { at: seconds(now), reply };
        if let Some(place) = self.place(key)
            && let Err(error) = write(&place, &kept).await
        {
            tracing::warn!(file = %place.display(), %error, "an answer could not be kept on disk");
        }
        locked(&self.memory).put(key, kept);
    }

    fn place(&self, key: Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.json", key.hex())))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_whole(reply: &Reply) -> bool {
    let ended = matches!(reply.stop, Stop::EndTurn | Stop::StopSequence);
    let calls = reply.content.iter().any(|block| matches!(block, Block::ToolUse { .. }));
    ended && !calls && reply.broken.is_empty() && !reply.text().is_empty()
}

/// A file that is not what it should be is none.
async fn read(place: &Path) -> Option<Kept> {
    let bytes = tokio::fs::read(place).await.ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whole or not at all, whoever writes the same beside us.
async fn write(place: &Path, kept: &Kept) -> std::io::Result<()> {
    use std::io::{Error, Write};
    let bytes = serde_json::to_vec(kept).map_err(Error::other)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Ok(());
    }
    let place = place.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        let folder = place.parent().unwrap_or(Path::new("."));
        make(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.persist(&place).map_err(|error| error.error)?;
        prune(folder, MOST_FILES)
    });
    written.await.map_err(Error::other)?
}

/// Takes the oldest answers away until so many are left.
fn prune(folder: &Path, most: usize) -> std::io::Result<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let place = entry?.path();
        if place.extension().is_some_and(|ending| ending == "json") {
            // Another process may have taken it away just now.
            files.extend(place.metadata().and_then(|it| it.modified()).ok().map(|at| (at, place)));
        }
    }
    let too_many = files.len().saturating_sub(most);
    files.sort();
    files.into_iter().take(too_many).try_for_each(|(_, place)| match std::fs::remove_file(place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    })
}

fn make(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::llm::route::Routes;

    fn target() -> Target {
        let json = json!({"override_params": {"model": "claude-4"}});
        Routes::read(&json).unwrap().targets()[0].clone()
    }

    fn reply(text: &str) -> Reply {
        Reply {
            id: "m".to_owned(),
            model: "claude".to_owned(),
            content: vec![Block::text(text)],
            stop: Stop::EndTurn,
            usage: Usage { input: 5, ..Usage::default() },
            broken: Vec::new(),
        }
    }

    fn key(request: &Request) -> Digest {
        Answers::key(&target(), request)
    }

    const AGE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn another_question_user_or_parameter_is_another_key_and_marks_are_not() {
        let base = Request::ask("hi");
        let mut others = [Request::ask("ho"), Request::ask("hi"), Request::ask("hi")];
        others[1].principal = "other".to_owned();
        others[2].params.rest.insert("top_p".to_owned(), json!(1));
        assert!(others.iter().all(|other| key(other) != key(&base)));
        let rules = cache::Rules::default();
        let long = Request::ask(&"word ".repeat(3000));
        assert_eq!(key(&cache::marked(&long, &rules)), key(&long));
        // A user's own data may be named as a time is.
        let call = |time: u64| {
            let mut request = Request::ask("hi");
            let input = json!({"timestamp": time});
            let (id, name) = ("c".to_owned(), "t".to_owned());
            let block = Block::ToolUse { id, name, input, cache_control: None };
            request.messages[0].content.push(block);
            request
        };
        assert_ne!(key(&call(1)), key(&call(2)));
    }

    #[tokio::test]
    async fn answers_are_kept_for_their_time_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("answers");
        let (key, now) = (key(&Request::ask("hi")), at(0));
        for answers in [Answers::default(), Answers::in_folder(place.clone())] {
            assert_eq!(answers.find(key, AGE, now).await, None);
            answers.keep(key, &reply("kept"), now).await;
            let found = answers.find(key, AGE, at(59)).await.unwrap();
            assert_eq!((found.text().as_str(), found.usage), ("kept", Usage::default()));
            assert_eq!(answers.find(key, AGE, at(60)).await, None);
        }
        let later = Answers::in_folder(place.clone());
        assert_eq!(later.find(key, AGE, at(1)).await.unwrap().text(), "kept");
        let mode = std::fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let file = std::fs::read_dir(&place).unwrap().next().unwrap().unwrap().path();
        std::fs::write(file, "{\"at\": 5").unwrap();
        assert_eq!(Answers::in_folder(place).find(key, AGE, at(1)).await, None);
    }

    #[test]
    fn the_oldest_answers_leave_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        for (number, name) in ["b.json", "a.json", "c.json", "other"].into_iter().enumerate() {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(at(number as u64)).unwrap();
        }
        prune(folder.path(), 2).unwrap();
        let there = |name: &str| folder.path().join(name).exists();
        assert_eq!(["a.json", "b.json", "c.json", "other"].map(there), [true, false, true, true]);
    }

    #[tokio::test]
    async fn what_is_no_whole_answer_in_words_is_not_kept() {
        let answers = Answers::default();
        let call = Block::ToolUse {
            id: "c".to_owned(),
            name: "run".to_owned(),
            input: json!({}),
            cache_control: None,
        };
        for bad in [
            Reply { stop: Stop::MaxTokens, ..reply("cut") },
            Reply { stop: Stop::Refusal, ..reply("no") },
            Reply { content: vec![Block::text("a"), call], stop: Stop::ToolUse, ..reply("") },
            reply(""),
        ] {
            let key = key(&Request::ask("hi"));
            answers.keep(key, &bad, at(0)).await;
            assert_eq!(answers.find(key, AGE, at(0)).await, None);
        }
    }

    #[tokio::test]
    async fn turns_are_taken_one_by_one_and_leave_nothing_behind() {
        let answers = Answers::default();
        let (one, other) = (key(&Request::ask("1")), key(&Request::ask("2")));
        let first = answers.turn(one).await;
        let mut second = tokio_test::task::spawn(answers.turn(one));
        assert!(second.poll().is_pending());
        drop(answers.turn(other).await);
        drop(first);
        assert!(second.is_woken() && second.poll().is_ready());
        drop(second);
        drop(answers.turn(other).await);
        assert!(locked(&answers.turns).len() <= 1);
    }
}
