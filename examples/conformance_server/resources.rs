//! The suite's resources.

use rmcp::{
    ErrorData,
    model::{ReadResourceResult, Resource, ResourceContents, ResourceTemplate},
};
use serde_json::json;

use crate::{plain::IMAGE, skills};

pub(crate) fn all() -> Vec<Resource> {
    let resource = |uri: &str, about: &str, mime: &str| {
        Resource::new(uri, uri).with_description(about).with_mime_type(mime)
    };
    vec![
        resource("test://static-text", "A text", "text/plain"),
        resource("test://static-binary", "An image", "image/png"),
        skills::resource(),
        resource("test://watched-resource", "A text to which hosts subscribe", "text/plain"),
    ]
}

pub(crate) fn templates() -> Vec<ResourceTemplate> {
    let template = ResourceTemplate::new("test://template/{id}/data", "template");
    vec![template.with_description("Tells its id").with_mime_type("application/json")]
}

pub(crate) fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
    let contents = match (uri, id) {
        ("test://static-text", _) => {
            ResourceContents::text("This is the content of the static text resource.", uri)
        }
        ("test://watched-resource", _) => ResourceContents::text("It never changes.", uri),
        ("test://static-binary", _) => {
            ResourceContents::blob(IMAGE, uri).with_mime_type("image/png")
        }
        (_, Some(id)) => {
            let told =
                json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            ResourceContents::text(told.to_string(), uri).with_mime_type("application/json")
        }
        _ => skills::read(uri).ok_or_else(|| unknown(uri))?,
    };
    Ok(ReadResourceResult::new(vec![contents]))
}

fn unknown(uri: &str) -> ErrorData {
    ErrorData::resource_not_found(format!("no resource `{uri}`"), Some(json!({"uri": uri})))
}
