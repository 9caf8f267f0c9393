//! The answer of a guest's tool on its way through the layers, which it passes unchanged.

use rmcp::{
    ErrorData,
    model::{CallToolResponse, ContentBlock, ErrorCode, ResourceContents},
};

use super::Reply;
use crate::{base::budget, guard::Ending};

impl Reply {
    /// What a guest's tool has answered. That the caller was wrong is no fault of the tool's: then nothing
    /// was carried out.
    #[must_use]
    pub fn of_guest(answered: Result<CallToolResponse, ErrorData>) -> Self {
        let result = match answered {
            Ok(CallToolResponse::Complete(result)) => result,
            Ok(other) => return Self::instead(other),
            Err(error) => return Self::protocol_error(error),
        };
        let failed = result.is_error == Some(true);
        let ending = if failed { Ending::Raised } else { Ending::Done };
        let reply = Self::new(result.content, result.structured_content, failed, ending);
        Self { of_guest: true, meta: result.meta, ..reply }
    }

    fn protocol_error(error: ErrorData) -> Self {
        let ending = match error.code {
            ErrorCode::INTERNAL_ERROR => Ending::Fault(error.message.clone().into_owned()),
            _ => Ending::Denied,
        };
        let reply = Self::new(Vec::new(), None, true, ending);
        Self { instead: Some(Box::new(Err(error))), ..reply }
    }
}

/// Tokens of what husk itself never answers with, estimated.
pub(super) fn cost(block: &ContentBlock) -> u64 {
    match block {
        ContentBlock::Audio(audio) => budget::image_tokens(audio.data.len() as u64),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { text, .. } => budget::tokens(text),
            _ => 0,
        },
        _ => 0,
    }
}
