//! The end of a kernel's process: waited for, told by its init, and brought about where the kernel uses
//! more than it may.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt},
    process::Child,
    sync::watch,
};

use super::{
    exit::Exit,
    handles::Handles,
    plan::Plan,
    settings::Level,
    watch::{self as bounds, Bound, Over},
};

/// How long an init may take to tell that the kernel it was told to kill has ended.
pub(super) const WORD: Duration = Duration::from_secs(1);

/// Resolves when the kernel uses more than it may.
pub(super) async fn over(init: Option<i32>, plan: Plan, handles: Arc<Handles>) -> Over {
    match init.filter(|_| plan.level != Level::None) {
        Some(init) => bounds::until_over(init, &plan, &handles.group).await,
        None => std::future::pending().await,
    }
}

/// Waits for the line that tells the end, then reaps the init.
pub(super) async fn follow(
    mut lines: impl AsyncBufRead + Unpin,
    child: Option<Child>,
    exit: watch::Sender<Option<Exit>>,
    ended: watch::Sender<bool>,
    handles: Arc<Handles>,
    over: impl Future<Output = Over>,
    most: u64,
) {
    let mut line = String::new();
    let over = {
        let mut read = pin!(lines.read_line(&mut line));
        let over = tokio::select! {
            _ = &mut read => None,
            over = over => {
                // Its init then ends all the others. Much memory takes its time to go, after the
                // channels: why it ends is told before.
                handles.kill_kernel();
                exit.send_replace(Some(Exit::Over(over)));
                Some(over)
            }
        };
        if over.is_some() {
            let _ = tokio::time::timeout(WORD, read).await;
        }
        over
    };
    let told = parse_end(&line, most);
    if told.is_none() {
        // Killed by a cell: what it kept together must not outlive it.
        handles.destroy();
    }
    if over.is_none() {
        exit.send_replace(Some(told.unwrap_or(Exit::Unknown)));
    }
    match child {
        Some(mut child) => {
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "cannot wait for the kernel's init");
            }
        }
        // It is no child of this server: its end of the lifeline closes when it ends.
        None => while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {},
    }
    if told.is_none() {
        // Nobody else does it any more.
        handles.group.remove();
    }
    ended.send_replace(true);
}

/// The end of a kernel that may use `most` bytes of memory.
fn parse_end(line: &str, most: u64) -> Option<Exit> {
    match line.trim_end().split_once(' ')? {
        ("full", used) => {
            // Older systems do not count the most that was used.
            let used = used.parse().ok().filter(|used| *used > 0).unwrap_or(most);
            Some(Exit::Over(Over { bound: Bound::Memory, used, most }))
        }
        ("exited", code) => Some(Exit::Code(code.parse().ok()?)),
        ("killed", signal) => Some(Exit::Signal(signal.parse().ok()?)),
        _ => None,
    }
}
