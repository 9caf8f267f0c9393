//! Programs that judge answers (`--guardrail NAME=PROGRAM`).
//!
//! A program that cannot be started, says nothing in time or is killed has not let the answer pass: it
//! counts as an objection.

use std::{io, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::llm::{
    guardrail::{Guardrail, Judging},
    reply::Reply,
};

/// How long a program may judge.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most characters of its reason that are told.
const REASON: usize = 500;

struct Program(PathBuf);

/// The hook that this program is.
pub(super) fn hook(program: PathBuf) -> Arc<dyn Guardrail> {
    Arc::new(Program(program))
}

impl Guardrail for Program {
    fn objection<'a>(&'a self, reply: &'a Reply) -> Judging<'a> {
        Box::pin(async move {
            let failed = |why: String| Some(format!("`{}` {why}", self.0.display()));
            match tokio::time::timeout(PATIENCE, self.judged(reply)).await {
                Ok(Ok(objection)) => objection,
                Ok(Err(error)) => failed(format!("cannot judge: {error}")),
                Err(_) => failed(format!("said nothing for {} s", PATIENCE.as_secs())),
            }
        })
    }
}

impl Program {
    async fn judged(&self, reply: &Reply) -> io::Result<Option<String>> {
        let mut command = Command::new(&self.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.kill_on_drop(true).spawn()?;
        let json = serde_json::to_vec(reply)?;
        let stdin = process.stdin.take();
        let write = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(&json).await?;
            }
            Ok(())
        };
        let (written, ended) = tokio::join!(write, process.wait_with_output());
        let ended = ended?;
        // Who has seen enough need not read the rest.
        written.or_else(|error: io::Error| match error.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })?;
        if ended.status.success() {
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&ended.stdout);
        let reason: String = said.trim().chars().take(REASON).collect();
        Ok(Some(if reason.is_empty() { format!("it ended with {}", ended.status) } else { reason }))
    }
}
