//! # husk
//!
//! *A husk is what protects a kernel.* husk gives an AI agent a persistent Jupyter kernel as MCP
//! tools, and keeps a runaway agent from doing harm. This library is what the binary `husk` is made
//! of; it makes no promise of stability. What is stable: the tools' schemas, the settings, the
//! command line.
//!
//! ## The house
//!
//! A module names only modules on floors below it; on floors 1 and 3 siblings do not know each
//! other. A test (`tests/it/tidy.rs`) keeps it so.
//!
//! | floor | modules |
//! |---|---|
//! | 4 entry | [`cli`], [`config`], [`app`], [`telemetry`], [`schema`] |
//! | 3 surfaces | [`mcp`], `agent` (feature `agent`), [`tenant`] |
//! | 2 assemblies | [`sandbox`], [`notebook`], [`replica`], `llm` (feature `agent`) |
//! | 1 parts | [`guard`], [`kernel`], [`jail`], [`proxy`], [`store`], `redis_client` |
//! | 0 base | [`base`], `tls` |
//!
//! Each foreign system has one door: `rmcp` is named only in [`mcp`] and `agent`; `zeromq`,
//! `jupyter-protocol` and `tokio-tungstenite` only in [`kernel`]; system calls and `unsafe` only in [`jail`]; `clap` only
//! in [`cli`]; `sqlx` only in [`store`]; `redis` only in [`tenant`] and [`replica`] (and
//! `redis_client`, by which both reach it); `axum` only in [`mcp`]; `reqwest` only in `llm`; `hyper` only in
//! [`proxy`], by which kernels reach the network, in [`mcp`], which is reached over it, and in [`kernel`],
//! which asks gateways for kernels; OpenTelemetry (feature `otel`) only in [`mcp`] and [`telemetry`].
//!
//! ## The walk of one call
//!
//! 1. The host writes `tools/call notebook_run_cell` on standard input → [`mcp::transport::stdio`],
//!    where each call gets its place in the order (`mcp::order`). This user's other processes
//!    (`husk run --attach`) come to the same server over [`mcp::transport::local`]. Over HTTP
//!    (`mcp::transport::http`) a request first passes checks, [`mcp::auth`] says whose it is, and each
//!    user has a server of their own.
//! 2. rmcp decodes it → [`mcp::Server`] finds the tool in [`mcp::tools`], or at an embedder's
//!    [`mcp::guest`] (`mcp::call`); `mcp::trace` opens a span below the caller's, and the trace goes on
//!    to the kernel; `mcp::identity` makes a
//!    [`guard::ToolCall`] of it: who calls, what in canonical form ([`base::canon`]), at what price
//!    ([`base::budget`]), and whether it is one that came before and is still under way.
//! 3. The call passes the layers of [`guard`]: [`guard::trace`] meters,
//!    [`guard::dedup`] refuses what gets nowhere, [`guard::breaker`] what is broken,
//!    [`guard::limiter`] what there is no room for, and reserves the rest; [`guard::deadline`] bounds,
//!    [`guard::contain`] ends it when the caller gives up and catches panics. `app::ledger` keeps what
//!    was used in the [`store`]. Where servers side by side count together, the limiter asks
//!    [`guard::shared`], which asks Redis or the store ([`replica`]).
//! 4. [`mcp::tools::run_cell`] reads the arguments and asks [`sandbox::Sandboxes::queue`], in its turn.
//!    What it gets is a [`sandbox::CellRun`], whose life does not depend on the call: a call that is
//!    sent twice gets the same one, and the cell stops when all who claim it (`sandbox::claim`) have
//!    given up. `mcp::attend` waits for it as long as the host lets a call take, and asks the user what the cell asks.
//! 5. The session's task takes cells in order. What may follow what is decided in
//!    [`sandbox::state`]; if no kernel runs, a session that others may want too is claimed in the
//!    store ([`sandbox::tenancy`], which [`app::registry`] leads to [`store`]): one process wins. It
//!    goes on with the kernel that an earlier server has left, or [`sandbox::launch`] finds an
//!    interpreter ([`sandbox::python`]), and [`jail::Process`] starts it under an init of its own,
//!    which keeps it for a while when the server goes. What nobody wants is ended by
//!    [`sandbox::reaper`]. What it reaches of the network goes through [`proxy`], which asks
//!    [`base::hosts`].
//! 6. [`kernel::Client`] signs the request ([`kernel::wire`]) and follows the kernel's messages
//!    until it is idle *and* has replied. Every byte from the kernel has passed [`kernel::relay`].
//! 7. [`kernel::event`] reads the messages, [`kernel::output`] keeps them, on disk up to a bound, and
//!    shows a part of them; newest lines go out as progress on the way.
//! 8. A cell that does not end is interrupted, signalled, and at last killed with its kernel; a
//!    kernel that dies is seen at once, and what it had printed is read from [`kernel::journal`].
//! 9. The cell is written to its session's [`notebook`] before anybody is told of its end.
//! 10. [`mcp::reply`] is the one place where the outcome becomes an MCP result. On the way out the
//!     limiter settles the real cost, the breaker and dedup remember, and the span closes.
//!
//! Who only watches calls nothing: `mcp::resources` and [`mcp::watch`] tell what there is, `mcp::changes` tells
//! when it is something else ([`sandbox::Change`]), and the page of `mcp::view` shows it.
//!
//! ## The walk of one prompt (feature `agent`)
//!
//! 1. `cli::agent` makes an `agent::Agent` of the flags: an `llm::Client` for its routes, an
//!    `agent::toolbox::Toolbox` of its tool servers (husk itself, as a process, by default).
//! 2. `agent::Agent::run` is a stream of events. Its loop (`agent::run`) looks at the limits, makes room
//!    if the conversation is long, and asks (`agent::ask`).
//! 3. `llm::Client` goes through the tree of targets (`llm::route`) until an answer is whole: each is
//!    asked on its own wire, with marks for the provider's prompt cache, and again as `llm::stream`
//!    says.
//! 4. The answer's calls are carried out (`agent::steps`): looked up, approved, guarded by the same
//!    [`guard::dedup`] that a server has, and sent over MCP (`agent::server`). Each gets a result.
//! 5. Whatever happens is an entry of the conversation (`agent::conversation`) and of its transcript
//!    before the next step is taken. When nothing more is called, the run ends.

#[cfg(feature = "agent")]
pub mod agent;
pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod guard;
pub mod jail;
pub mod kernel;
#[cfg(feature = "agent")]
pub mod llm;
pub mod mcp;
pub mod notebook;
pub mod proxy;
#[cfg(feature = "redis")]
pub mod redis_client;
pub mod replica;
pub mod sandbox;
pub mod schema;
pub mod store;
pub mod telemetry;
pub mod tenant;
#[cfg(any(feature = "http", feature = "redis", feature = "gateway", feature = "postgres"))]
pub mod tls;
