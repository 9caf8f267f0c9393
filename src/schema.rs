//! What stands in `schemas/`: the settings' JSON schema, each tool's input and output, the resources that
//! are husk's own JSON, and the events of the agent.

use serde_json::Value;

use crate::{
    config::Config,
    mcp::{tools, watch},
};

/// Every schema with its file name below `schemas/`.
#[must_use]
pub fn all() -> Vec<(String, Value)> {
    let mut all = vec![("config.json".to_owned(), schemars::schema_for!(Config).to_value())];
    for tool in tools::ALL {
        let described = tool.describe();
        let name = tool.name;
        all.push((
            format!("tools/{name}.input.json"),
            Value::Object((*described.input_schema).clone()),
        ));
        if let Some(output) = described.output_schema {
            all.push((format!("tools/{name}.output.json"), Value::Object((*output).clone())));
        }
    }
    let cells = schemars::schema_for!(watch::Cells).to_value();
    let usage = schemars::schema_for!(watch::Limits).to_value();
    all.extend([
        ("resources/cells.json".to_owned(), cells),
        ("resources/usage.json".to_owned(), usage),
    ]);
    #[cfg(feature = "agent")]
    {
        let events = schemars::schema_for!(crate::agent::event::Event).to_value();
        all.push(("agent/event.json".to_owned(), events));
    }
    all
}
