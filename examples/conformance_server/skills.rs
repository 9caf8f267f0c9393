//! A skill of two files, one of them in a folder below.

use rmcp::{
    ErrorData,
    model::{
        DIRECTORY_MIME_TYPE, Resource, ResourceContents, Skill, SkillFrontmatter, SkillResource,
        SkillResources,
    },
};

use crate::tools::bad;

const NAME: &str = "greeting";
const ABOUT: &str = "How to greet somebody";
const FOLDER: &str = "skill://greeting";
const BELOW: &str = "skill://greeting/references";
const SKILL: &str = "skill://greeting/SKILL.md";
const TONE: &str = "skill://greeting/references/tone.md";
const FILES: [(&str, &str); 2] = [
    (
        SKILL,
        "---\nname: greeting\ndescription: How to greet somebody\n---\n\nSay hello. references/tone.md tells how.\n",
    ),
    (TONE, "Be friendly, and brief.\n"),
];

/// All skills.
pub(crate) fn all() -> Vec<Skill> {
    let files = FILES.map(|(uri, text)| SkillResource::from_bytes(uri, text.as_bytes()));
    let frontmatter = SkillFrontmatter::new(NAME, ABOUT);
    vec![Skill::new(SKILL, frontmatter, SkillResources::Files(files.to_vec()))]
}

/// The skill whose `SKILL.md` that is.
pub(crate) fn get(uri: &str) -> Result<Skill, ErrorData> {
    let found = all().into_iter().find(|skill| skill.uri == uri);
    found.ok_or_else(|| bad(format!("no skill `{uri}`")))
}

/// What is listed of them.
pub(crate) fn resource() -> Resource {
    Resource::new(SKILL, NAME).with_description(ABOUT).with_mime_type("text/markdown")
}

/// A file of a skill.
pub(crate) fn read(uri: &str) -> Option<ResourceContents> {
    let (_, text) = FILES.iter().find(|(known, _)| *known == uri)?;
    Some(ResourceContents::text(*text, uri).with_mime_type("text/markdown"))
}

/// What is in a folder.
pub(crate) fn directory(uri: &str) -> Result<Vec<Resource>, ErrorData> {
    let tone = || Resource::new(TONE, "tone.md").with_mime_type("text/markdown");
    let below = || Resource::new(BELOW, "references").with_mime_type(DIRECTORY_MIME_TYPE);
    match uri.trim_end_matches('/') {
        FOLDER => Ok(vec![resource(), below()]),
        BELOW => Ok(vec![tone()]),
        _ => Err(bad(format!("no folder `{uri}`"))),
    }
}
