//! Tool servers as every host writes them down: `{"mcpServers": {"name": {…}}}`.
//!
//! What is not for husk is left alone, for one file serves several hosts; what cannot be obeyed is a
//! fault, and all faults are told together. Starts nothing.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::base::secret::Secret;

/// A tool server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub way: Way,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is started, and speaks over its standard input and output.
    Stdio {
        /// The program.
        command: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// Variables beside those that it inherits; keys are among them.
        env: BTreeMap<String, Secret>,
        /// The folder in which it starts.
        folder: Option<PathBuf>,
    },
    /// It is there, and speaks Streamable HTTP.
    Http {
        /// Its address.
        url: String,
        /// Headers of every request; keys are among them.
        headers: BTreeMap<String, Secret>,
    },
}

/// A file of tool servers that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the tool servers from `{}`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no JSON.
    #[error("`{}` is not JSON", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Something in it.
    #[error("`{}` cannot be used: {}", .file.display(), .faults.join("; "))]
    Faults {
        /// The file.
        file: PathBuf,
        /// What.
        faults: Vec<String>,
    },
}

/// Looks up a variable.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The servers of a file, by name.
///
/// # Errors
/// [`ConfigError`] names every fault.
pub fn read(file: &Path) -> Result<Vec<Wanted>, ConfigError> {
    let path = || file.to_owned();
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Unreadable { file: path(), source })?;
    let json =
        serde_json::from_str(&text).map_err(|source| ConfigError::Json { file: path(), source })?;
    servers(&json, &|name| std::env::var(name).ok())
        .map_err(|faults| ConfigError::Faults { file: path(), faults })
}

/// The servers of a configuration.
fn servers(json: &Value, variable: Variable<'_>) -> Result<Vec<Wanted>, Vec<String>> {
    let Some(all) = json.get("mcpServers").and_then(Value::as_object) else {
        return Err(vec![
            "it has no `mcpServers`; it is {\"mcpServers\": {\"name\": {\"command\": \"…\"}}}"
                .to_owned(),
        ]);
    };
    let on = all.iter().filter(|(_, server)| server.get("disabled") != Some(&Value::Bool(true)));
    let (mut wanted, mut faults) = (Vec::new(), Vec::new());
    for (name, server) in on {
        match way(server, variable) {
            Ok(way) => wanted.push(Wanted { name: name.clone(), way }),
            Err(fault) => faults.push(format!("`mcpServers.{name}`: {fault}")),
        }
    }
    if faults.is_empty() { Ok(wanted) } else { Err(faults) }
}

/// What is wrong with one server.
#[derive(Debug, PartialEq, Eq)]
struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn way(server: &Value, variable: Variable<'_>) -> Result<Way, Fault> {
    let members = server.as_object().ok_or_else(|| Fault("it is no object".to_owned()))?;
    let kind = members.get("type").and_then(Value::as_str);
    let known =
        [None, Some("stdio"), Some("http"), Some("streamable-http"), Some("streamableHttp")];
    if !known.contains(&kind) {
        return Err(Fault(format!(
            "the type `{}` is not known; there are stdio and http (Streamable HTTP)",
            kind.unwrap_or_default()
        )));
    }
    let url = word(members, "url", variable)?;
    let command = word(members, "command", variable)?;
    match (command, url) {
        (Some(command), None) => Ok(Way::Stdio {
            command: command.into(),
            args: list(members, "args", variable)?,
            env: table(members, "env", variable)?,
            folder: word(members, "cwd", variable)?.map(Into::into),
        }),
        (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
            Ok(Way::Http { url, headers: table(members, "headers", variable)? })
        }
        (None, Some(url)) => Err(Fault(format!("`{url}` is no http:// or https:// address"))),
        _ => Err(Fault("it needs either a `command` or a `url`".to_owned())),
    }
}

fn word(
    members: &Map<String, Value>,
    name: &str,
    variable: Variable<'_>,
) -> Result<Option<String>, Fault> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(name, value, variable).map(Some),
    }
}

fn list(
    members: &Map<String, Value>,
    name: &str,
    variable: Variable<'_>,
) -> Result<Vec<String>, Fault> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(|item| text(name, item, variable)).collect(),
        Some(_) => Err(Fault(format!("`{name}` is no list of texts"))),
    }
}

fn table(
    members: &Map<String, Value>,
    name: &str,
    variable: Variable<'_>,
) -> Result<BTreeMap<String, Secret>, Fault> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(BTreeMap::new()),
        Some(Value::Object(items)) => {
            let item = |(key, item): (&String, &Value)| {
                Ok((key.clone(), Secret::new(text(key, item, variable)?)))
            };
            items.iter().map(item).collect()
        }
        Some(_) => Err(Fault(format!("`{name}` is no object of texts"))),
    }
}

fn text(name: &str, value: &Value, variable: Variable<'_>) -> Result<String, Fault> {
    let text = value.as_str().ok_or_else(|| Fault(format!("`{name}` is no text")))?;
    expanded(text, variable)
}

/// A text with its `${NAME}` and `${NAME:-otherwise}` replaced, as Claude Code does it.
fn expanded(text: &str, variable: Variable<'_>) -> Result<String, Fault> {
    let (mut done, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((inside, after)) = behind.split_once('}') else { break };
        let (name, otherwise) = match inside.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
            None => (inside, None),
        };
        let value = variable(name).or(otherwise);
        done += before;
        done += &value.ok_or_else(|| Fault(format!("the variable `{name}` is not set")))?;
        rest = after;
    }
    Ok(done + rest)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Value) -> Result<Vec<Wanted>, Vec<String>> {
        servers(json, &|name| (name == "TOKEN").then(|| "secret".to_owned()))
    }

    #[test]
    fn servers_are_read_as_hosts_write_them() {
        let wanted = read(&json!({"mcpServers": {
            "files": {"command": "npx", "args": ["-y", "server", "${HERE:-/srv}"], "env": {"A": "1"}},
            "off": {"command": "x", "disabled": true},
            "web": {"type": "http", "url": "https://a.example/mcp",
                "headers": {"Authorization": "Bearer ${TOKEN}"}},
        }, "other": 1}))
        .unwrap();
        assert_eq!(wanted.len(), 2);
        let Way::Stdio { command, args, env, folder } = &wanted[0].way else { panic!() };
        assert_eq!(command, Path::new("npx"));
        assert_eq!(args, &["-y", "server", "/srv"]);
        assert_eq!((env.get("A").map(Secret::reveal), folder), (Some("1"), &None));
        let Way::Http { url, headers } = &wanted[1].way else { panic!() };
        assert_eq!(url, "https://a.example/mcp");
        assert_eq!(headers.get("Authorization").unwrap().reveal(), "Bearer secret");
        assert!(!format!("{wanted:?}").contains("secret"));
    }

    #[test]
    fn all_faults_are_told_together() {
        let faults = read(&json!({"mcpServers": {
            "a": {}, "b": {"command": "x", "url": "http://y"}, "c": {"url": "ftp://y"},
            "d": {"type": "sse", "url": "http://y"}, "e": {"command": "x", "args": [1]},
            "f": {"command": "${NONE}"}, "g": 7,
        }}))
        .unwrap_err();
        let expected = [
            "needs either",
            "needs either",
            "is no http",
            "`sse` is not known",
            "is no text",
            "`NONE` is not set",
            "no object",
        ];
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault}");
        }
        assert!(read(&json!({"servers": {}})).unwrap_err()[0].contains("no `mcpServers`"));
    }
}
