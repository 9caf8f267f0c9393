//! AWS's credentials where its own tools keep them: the environment, then the profile in
//! `~/.aws/credentials` and `~/.aws/config`.
//!
//! Programs (`credential_process`), single sign-on and roles are not asked: `aws configure
//! export-credentials --format env` turns them into variables. Pure but for the two files.

use std::{collections::BTreeMap, path::PathBuf};

use super::signature::Identity;
use crate::base::secret::Secret;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::llm) struct Found {
    pub(in crate::llm) identity: Option<Identity>,
    /// A key of Bedrock itself.
    pub(in crate::llm) bearer: Option<Secret>,
    pub(in crate::llm) region: Option<String>,
    /// The profile that was looked for.
    pub(in crate::llm) profile: String,
}

/// Looks where AWS's tools look. `read` gives the text of a file, nothing where there is none.
pub(in crate::llm) fn find(
    variable: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&PathBuf) -> Option<String>,
) -> Found {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let profile = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let home = PathBuf::from(set("HOME").unwrap_or_default()).join(".aws");
    let place = |name: &str, usual: &str| set(name).map_or_else(|| home.join(usual), PathBuf::from);
    let file = |name, usual| read(&place(name, usual)).unwrap_or_default();
    let credentials = section(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), &profile);
    let config = file("AWS_CONFIG_FILE", "config");
    let mut values = section(&config, &format!("profile {profile}"));
    if profile == "default" {
        values.extend(section(&config, &profile));
    }
    values.extend(credentials);
    let of_environment =
        identity(set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY"), set("AWS_SESSION_TOKEN"));
    let mut value = |name: &str| values.remove(name).filter(|value| !value.is_empty());
    let of_files = identity(
        value("aws_access_key_id"),
        value("aws_secret_access_key"),
        value("aws_session_token"),
    );
    Found {
        identity: of_environment.or(of_files),
        bearer: set("AWS_BEARER_TOKEN_BEDROCK").map(Secret::new),
        region: set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION")).or(value("region")),
        profile,
    }
}

fn identity(id: Option<String>, secret: Option<String>, token: Option<String>) -> Option<Identity> {
    Some(Identity {
        key_id: id?,
        secret: Secret::new(secret?),
        session_token: token.map(Secret::new),
    })
}

/// Who signs, by a key that is kept under a name: `ID:SECRET` or `ID:SECRET:TOKEN`. Anything else is
/// a key of Bedrock itself.
pub(in crate::llm) fn of_key(key: &Secret) -> Option<Identity> {
    let mut parts = key.reveal().splitn(3, ':').map(str::to_owned);
    let id = parts.next().filter(|id| id.starts_with("AKIA") || id.starts_with("ASIA"));
    identity(id, parts.next(), parts.next())
}

/// The members of a section of an INI file.
fn section(text: &str, wanted: &str) -> BTreeMap<String, String> {
    let mut inside = false;
    let mut members = BTreeMap::new();
    for line in text.lines() {
        let bare = line.trim();
        if let Some(name) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.split_whitespace().eq(wanted.split_whitespace());
        } else if inside && !bare.starts_with(['#', ';']) && !line.starts_with([' ', '\t']) {
            // What is indented belongs to a setting with settings of its own.
            if let Some((name, value)) = bare.split_once('=') {
                members.insert(name.trim().to_lowercase(), value.trim().to_owned());
            }
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = AKIAD\naws_secret_access_key=sd\n\n\
        [work]\n# comment\naws_access_key_id=AKIAW\naws_secret_access_key = s/w=+\naws_session_token = tok\n";
    const CONFIG: &str =
        "[default]\nregion = eu-west-1\n[profile work]\nregion=us-west-2\ns3 =\n  region = no\n";

    fn found(variables: &[(&str, &str)]) -> Found {
        let variable = |name: &str| {
            variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
        };
        let read = |path: &PathBuf| match path.to_str().unwrap() {
            "/h/.aws/credentials" => Some(CREDENTIALS.to_owned()),
            "/h/.aws/config" | "/elsewhere" => Some(CONFIG.to_owned()),
            _ => None,
        };
        find(&variable, &read)
    }

    fn told(found: &Found) -> (Option<String>, Option<String>) {
        let id = found.identity.as_ref().map(|it| it.key_id.clone());
        (id, found.region.clone())
    }

    #[test]
    fn variables_come_before_the_profile() {
        let some = |id: &str, region: &str| (Some(id.to_owned()), Some(region.to_owned()));
        assert_eq!(told(&found(&[("HOME", "/h")])), some("AKIAD", "eu-west-1"));
        let work = [("HOME", "/h"), ("AWS_PROFILE", "work")];
        assert_eq!(told(&found(&work)), some("AKIAW", "us-west-2"));
        let identity = found(&work).identity.unwrap();
        assert_eq!(identity.secret.reveal(), "s/w=+");
        assert_eq!(identity.session_token.unwrap().reveal(), "tok");
        let variables = [
            ("HOME", "/h"),
            ("AWS_ACCESS_KEY_ID", "AKIAE"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_REGION", "ap-south-1"),
        ];
        assert_eq!(told(&found(&variables)), some("AKIAE", "ap-south-1"));
        assert_eq!(told(&found(&[("AWS_PROFILE", "none"), ("HOME", "/h")])), (None, None));
        assert_eq!(told(&found(&[("AWS_CONFIG_FILE", "/elsewhere")])).1.unwrap(), "eu-west-1");
    }

    #[test]
    fn a_key_under_a_name_is_one_of_iam_or_of_bedrock() {
        let of = |key: &str| of_key(&Secret::new(key.to_owned()));
        let identity = of("AKIA1:s/e+c:tok:en").unwrap();
        assert_eq!((identity.key_id.as_str(), identity.secret.reveal()), ("AKIA1", "s/e+c"));
        assert_eq!(identity.session_token.unwrap().reveal(), "tok:en");
        assert_eq!(of("bedrock-api-key-abc"), None);
        assert_eq!(of("AKIA-alone"), None);
    }
}
