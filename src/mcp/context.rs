//! What the tools of one server work with.

use std::sync::Arc;

use super::{
    LOCAL, ask, audit,
    guest::{Guest, Hosted},
    reply,
};
use crate::{base::ids::SessionName, guard::Guards, sandbox::Sandboxes};

/// What the tools work with.
pub struct Context {
    /// The sessions and their kernels.
    pub sandboxes: Sandboxes,
    /// The session of calls that name none.
    pub default_session: SessionName,
    /// What the layers around tool calls remember.
    pub guards: Guards,
    /// Who calls.
    pub principal: Arc<str>,
    /// How results are compared.
    pub(super) results: reply::Compared,
    /// Whether a call may name the connection file of a kernel that somebody else started.
    pub allow_attach: bool,
    /// Questions of cells that hosts were given to ask.
    pub pending: ask::Pending,
    /// Where calls are written down.
    pub audit: Option<audit::Audit>,
    /// What stands beside husk's own tools, resources and prompts.
    pub guest: Option<Guest>,
}

impl Context {
    /// A context in which nothing was called yet.
    #[must_use]
    pub fn new(sandboxes: Sandboxes, default_session: SessionName, guards: Guards) -> Self {
        let results = reply::Compared::new(guards.trails.settings());
        Self {
            sandboxes,
            default_session,
            guards,
            principal: LOCAL.into(),
            results,
            allow_attach: false,
            pending: ask::Pending::default(),
            audit: None,
            guest: None,
        }
    }

    pub(super) fn guest(&self) -> Option<&dyn Hosted> {
        self.guest.as_ref().map(Guest::handler)
    }
}
