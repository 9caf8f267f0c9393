//! `husk run --attach`: cells in a session that another husk serves.

use crate::app;

use super::{Cell, Outcome, Plots, each, print};
use crate::cli::live;

/// Runs the cells in the session of that name, of the server with that process id where two have
/// one. The session and its kernel stay.
pub(super) async fn run(
    session: &str,
    server: Option<u32>,
    cells: &[Cell],
    plots: &Plots,
) -> Outcome {
    let stop = app::signals()?;
    let print = print();
    let servers = tokio::select! {
        servers = live::servers(&print) => servers,
        () = stop.cancelled() => return Ok(super::INTERRUPTED.into()),
    };
    let live = live::having(session, server, servers)?;
    let outcome = each(&live.client, Some(session), cells, plots, &stop).await;
    live.client.close().await;
    if stop.is_cancelled() {
        tracing::info!("stopped; session `{session}` stays");
    }
    outcome
}
