//! The page that shows a session to a human: as an MCP App (`io.modelcontextprotocol/ui`) inside hosts that
//! support it, and in a browser at `/view`. One file, which loads nothing from anywhere.
//!
//! Source: <https://github.com/modelcontextprotocol/ext-apps/blob/main/specification/2026-01-26/apps.mdx>.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use rmcp::model::{ClientCapabilities, Icon, MetaObject, Resource, ResourceContents, Tool};
use serde_json::json;

/// The extension by which hosts say that they show apps.
const EXTENSION: &str = "io.modelcontextprotocol/ui";
/// What apps are.
const APP: &str = "text/html;profile=mcp-app";
/// The app.
pub(super) const URI: &str = "ui://husk/notebook";
/// The tool whose results it shows.
const SHOWN: &str = "notebook_run_cell";

const ICON: &str = include_str!("view/icon.svg");
/// The page.
pub(super) static PAGE: LazyLock<String> =
    LazyLock::new(|| include_str!("view/notebook.html").replace("@ICON@", &picture()));

/// Whether a client shows apps of this kind.
pub(super) fn is_shown_by(client: Option<&ClientCapabilities>) -> bool {
    let extensions = client.and_then(|client| client.extensions.as_ref());
    let kinds = extensions.and_then(|all| all.get(EXTENSION)?.get("mimeTypes")?.as_array());
    kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == APP))
}

/// The app in a list.
pub(super) fn resource() -> Resource {
    Resource::new(URI, "notebook-view")
        .with_title("Notebook")
        .with_description(
            "Shows a session's cells, plots and state, and what is used of its limits",
        )
        .with_mime_type(APP)
        .with_icons(vec![icon()])
}

/// The app itself.
pub(super) fn contents() -> ResourceContents {
    // No domains: it reaches nothing but its host.
    let ui = json!({ "ui": { "csp": {}, "prefersBorder": true } });
    ResourceContents::text(PAGE.as_str(), URI).with_mime_type(APP).with_meta(meta(ui))
}

/// The tools for hosts that show the app.
pub(super) fn linked(tools: &[Tool]) -> Vec<Tool> {
    let link = |tool: &Tool| match tool.name == SHOWN {
        true => tool.clone().with_meta(meta(json!({ "ui": { "resourceUri": URI } }))),
        false => tool.clone(),
    };
    tools.iter().map(link).collect()
}

fn meta(of: serde_json::Value) -> MetaObject {
    // It was made from an object.
    serde_json::from_value(of).unwrap_or_default()
}

/// husk's own.
pub(super) fn icon() -> Icon {
    Icon::new(picture()).with_mime_type("image/svg+xml").with_sizes(vec!["any".to_owned()])
}

fn picture() -> String {
    format!("data:image/svg+xml;base64,{}", BASE64_STANDARD.encode(ICON.trim()))
}
