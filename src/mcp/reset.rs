//! `husk guard reset`: breakers close and loops are forgotten, because a user at a terminal says so.
//!
//! A request of husk's own, which only the user's own socket takes: no tool, so that no agent frees
//! itself. Limits stay as they are.

use rmcp::{
    ErrorData,
    model::{CustomRequest, CustomResult},
};
use serde::{Deserialize, Serialize};

use crate::guard::Guards;

/// The request's name.
pub(super) const METHOD: &str = "husk/guard_reset";

/// What is reset.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    /// Only this session; otherwise all.
    pub(super) session: Option<String>,
}

/// What was reset.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct WasReset {
    /// Breakers that are closed now, and remember no fault.
    pub breakers: usize,
    /// Sessions whose earlier calls are forgotten.
    pub trails: usize,
}

pub(super) fn reset(guards: &Guards, request: &CustomRequest) -> Result<CustomResult, ErrorData> {
    let which = request.params_as::<Which>();
    let bad = |error: serde_json::Error| ErrorData::invalid_params(error.to_string(), None);
    let session = which.map_err(bad)?.unwrap_or_default().session;
    let meant = |name: &str| session.as_deref().is_none_or(|session| session == name);
    let was_reset = WasReset {
        breakers: guards.breakers.reset(|who, _| meant(&who.session)),
        trails: guards.trails.forget(|who| meant(&who.session)),
    };
    let told = serde_json::to_value(was_reset);
    Ok(CustomResult::new(told.map_err(|error| ErrorData::internal_error(error.to_string(), None))?))
}
