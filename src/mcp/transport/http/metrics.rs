//! `GET /metrics`: numbers of the whole server in Prometheus' text format.
//!
//! Where users are told apart it takes the scope `admin`: how much others work is nobody's business.
//! Labels are words of husk's own, never names of users or sessions.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use axum::{
    extract::{Extension, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::{Door, checks, tenants::Tenant};
use crate::{
    guard::tally::{BOUNDS, Told},
    mcp::auth::{Caller, Scope},
    sandbox::{Snapshot, census::Counted},
};

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(
    State(door): State<Arc<Door>>,
    Extension(caller): Extension<Caller>,
) -> Response {
    if door.doorman.asks() && !caller.scopes.has(Scope::Admin) {
        return checks::forbidden(&door, Scope::Admin);
    }
    ([(CONTENT_TYPE, FORMAT)], told(&door)).into_response()
}

fn told(door: &Door) -> String {
    let all: Vec<Arc<Tenant>> = door.tenants.all().into_iter().map(|(_, tenant)| tenant).collect();
    let mut page = Page::default();
    // One tally for all users: the guards are shared.
    if let Some(tenant) = all.first() {
        let context = tenant.server.context();
        calls(&mut page, &context.guards.tally.look());
        counted(&mut page, &context.sandboxes.census());
        if let Some(shared) = &context.guards.shared {
            let help = "Whether somebody counts for all servers; else limits hold as shared.on_failure says";
            page.one("husk_shared_up", "gauge", help, f64::from(shared.down().is_none()));
        }
    }
    let of = |tenant: &Arc<Tenant>| tenant.server.context().sandboxes.status(None);
    kernels(&mut page, &all.iter().flat_map(of).collect::<Vec<_>>());
    page.one("husk_users", "gauge", "Users who have been here", all.len() as f64);
    let sessions: usize = all.iter().map(|tenant| tenant.sessions.count()).sum();
    page.one("husk_mcp_sessions", "gauge", "MCP sessions", sessions as f64);
    let links: usize = all.iter().map(|tenant| tenant.links.count()).sum();
    page.one("husk_sse_links", "gauge", "Links of the older transport", links as f64);
    page.one("husk_calls_in_flight", "gauge", "Requests under way", door.ends.calls() as f64);
    page.text
}

fn calls(page: &mut Page, told: &Told) {
    page.family("husk_calls_total", "counter", "Tool calls, by how they ended");
    for (tool, (counts, _)) in &told.tools {
        let done = counts.calls.saturating_sub(counts.faults);
        for (outcome, count) in [
            ("done", done),
            ("fault", counts.faults),
            ("denied", counts.denied),
            ("joined", counts.joined),
        ] {
            page.line("husk_calls_total", &[("tool", *tool), ("outcome", outcome)], count as f64);
        }
    }
    page.family("husk_tokens_total", "counter", "Estimated tokens of arguments and answers");
    for (tool, (counts, _)) in &told.tools {
        page.line("husk_tokens_total", &[("tool", *tool)], counts.tokens as f64);
    }
    page.family("husk_denials_total", "counter", "Refused calls, by who refused them");
    for (by, count) in &told.denied {
        page.line("husk_denials_total", &[("by", *by)], *count as f64);
    }
    page.family("husk_call_seconds", "histogram", "How long tool calls took");
    for (tool, (_, times)) in &told.tools {
        let mut sum = 0;
        for (bound, count) in BOUNDS.iter().zip(times.classes) {
            sum += count;
            let bound = bound.to_string();
            let labels = [("tool", *tool), ("le", bound.as_str())];
            page.line("husk_call_seconds_bucket", &labels, sum as f64);
        }
        let labels = [("tool", *tool), ("le", "+Inf")];
        page.line("husk_call_seconds_bucket", &labels, times.calls as f64);
        page.line("husk_call_seconds_sum", &[("tool", *tool)], times.seconds);
        page.line("husk_call_seconds_count", &[("tool", *tool)], times.calls as f64);
    }
}

fn kernels(page: &mut Page, all: &[Snapshot]) {
    let mut states = BTreeMap::from(["off", "starting", "idle", "busy", "error"].map(|it| (it, 0)));
    for snapshot in all {
        *states.entry(snapshot.state.word()).or_default() += 1;
    }
    page.family("husk_sessions", "gauge", "Notebook sessions, by the state of their kernels");
    for (state, count) in states {
        page.line("husk_sessions", &[("state", state)], f64::from(count));
    }
    let sum = |of: fn(&Snapshot) -> u64| all.iter().map(of).sum::<u64>() as f64;
    let queued = sum(|it| it.queued as u64);
    page.one("husk_queued_cells", "gauge", "Cells that wait", queued);
    let memory = sum(|it| it.usage.map_or(0, |usage| usage.memory_bytes));
    page.one("husk_kernel_memory_bytes", "gauge", "Memory of all kernels", memory);
}

/// What has happened to kernels and cells, of all users.
fn counted(page: &mut Page, told: &Counted) {
    for (name, help, label, counts) in [
        (
            "husk_kernel_starts_total",
            "Starts of kernels, by what came of them",
            "outcome",
            &told.starts,
        ),
        ("husk_kernel_deaths_total", "Kernels that have ended, by why", "cause", &told.deaths),
        ("husk_cells_total", "Cells that have ended, by how", "status", &told.cells),
    ] {
        page.family(name, "counter", help);
        for (word, count) in counts {
            page.line(name, &[(label, *word)], *count as f64);
        }
    }
}

/// Text in Prometheus' format. Names and labels are husk's own words, which need no escapes.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let _ = writeln!(self.text, "{name}{{{}}} {value}", labels.join(","));
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        let _ = writeln!(self.text, "{name} {value}");
    }
}
