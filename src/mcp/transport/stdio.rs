//! MCP over standard input and output, as hosts launch it.

use rmcp::transport::stdio_pipes;
use tokio_util::sync::CancellationToken;

use super::lines::{self, LinesError};
use crate::mcp::Server;

/// Why serving ended badly.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the host on standard input")]
pub struct StdioError(#[source] LinesError);

/// Serves until the input ends or `stop` fires. Kernels are not ended here.
///
/// # Errors
/// [`StdioError`]. A host that only looked (connected and left) is not an error.
pub async fn serve(server: Server, stop: CancellationToken) -> Result<(), StdioError> {
    lines::serve(server, stdio_pipes(), stop).await.map_err(StdioError)
}
