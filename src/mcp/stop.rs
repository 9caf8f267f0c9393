//! `husk sessions stop`: the kernel of a session ends, because a user at a terminal says so.
//!
//! A request of husk's own, which only the user's own socket takes.

use rmcp::{
    ErrorData,
    model::{CustomRequest, CustomResult},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{base::ids::SessionName, sandbox::Sandboxes};

/// The request's name.
pub(super) const METHOD: &str = "husk/session_stop";

/// Which session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Its name.
    pub(super) session: String,
}

pub(super) async fn stop(
    sandboxes: &Sandboxes,
    request: &CustomRequest,
) -> Result<CustomResult, ErrorData> {
    let bad = |error: String| ErrorData::invalid_params(error, None);
    let which = request.params_as::<Which>().map_err(|error| bad(error.to_string()))?;
    let which = which.ok_or_else(|| bad("which session?".to_owned()))?;
    let name = SessionName::new(&which.session).map_err(|error| bad(error.to_string()))?;
    sandboxes.stop(&name).await.map_err(|error| bad(error.to_string()))?;
    Ok(CustomResult::new(Value::Null))
}
