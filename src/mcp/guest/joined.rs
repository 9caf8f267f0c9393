//! What husk and its guest have, as one: lists, capabilities, instructions.
//!
//! husk's come first, and a name that both have is husk's.

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CacheScope, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, Prompt, Resource, ResourceTemplate,
        ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};

use super::Hosted;
use crate::mcp::ask;

/// How long hosts may keep lists that are the same as long as this server runs, in milliseconds.
const FRESH: u64 = 300_000;

/// Who may keep a list of husk's.
#[derive(PartialEq, Eq)]
enum Keeps {
    Everybody,
    Nobody,
}

type Page = Option<PaginatedRequestParams>;
type Request = RequestContext<RoleServer>;

/// One page of a list. husk's own are short: all stand on the first page, whose successors, if any, are the
/// guest's.
macro_rules! paged {
    (
        $(#[$about:meta])*
        $list:ident($capability:ident) -> $result:ident.$items:ident: $item:ty, $key:ident, $keeps:expr
    ) => {
        $(#[$about])*
        pub(in crate::mcp) async fn $list(
            guest: Option<&dyn Hosted>,
            own: Vec<$item>,
            page: Page,
            request: Request,
        ) -> Result<$result, ErrorData> {
            let has = |it: &&dyn Hosted| it.info().capabilities.$capability.is_some();
            let Some(guest) = guest.filter(has) else {
                let all = $result::with_all_items(own);
                return Ok(match $keeps == Keeps::Everybody && ask::is_stateless(&request) {
                    true => all.with_ttl_ms(FRESH).with_cache_scope(CacheScope::Public),
                    false => all,
                });
            };
            let first = page.as_ref().is_none_or(|page| page.cursor.is_none());
            let mut joined = guest.$list(page, request).await?;
            joined.$items.retain(|theirs| own.iter().all(|ours| ours.$key != theirs.$key));
            if first {
                joined.$items.splice(0..0, own);
                // What a guest says of its own list must not let others keep a user's.
                (joined.ttl_ms, joined.cache_scope) = (None, None);
            }
            Ok(joined)
        }
    };
}

paged! {
    /// Tools.
    list_tools(tools) -> ListToolsResult.tools: Tool, name, Keeps::Everybody
}
paged! {
    /// Prompts.
    list_prompts(prompts) -> ListPromptsResult.prompts: Prompt, name, Keeps::Everybody
}
paged! {
    /// Resources.
    list_resources(resources) -> ListResourcesResult.resources: Resource, uri, Keeps::Nobody
}
paged! {
    /// Templates of resources.
    list_resource_templates(resources)
        -> ListResourceTemplatesResult.resource_templates: ResourceTemplate, uri_template,
        Keeps::Everybody
}

/// What the server says of itself: husk's words, with what its guest can and tells.
pub(in crate::mcp) fn info(own: ServerConfig, guest: Option<&dyn Hosted>) -> ServerConfig {
    match guest {
        Some(guest) => both(own, guest.info()),
        None => own,
    }
}

fn both(mut own: ServerConfig, theirs: ServerConfig) -> ServerConfig {
    own.capabilities = capabilities(own.capabilities, theirs.capabilities);
    if let Some(more) = theirs.instructions {
        let told = own.instructions.get_or_insert_default();
        if !told.is_empty() {
            told.push('\n');
        }
        told.push_str(&more);
    }
    own
}

fn capabilities(mut own: ServerCapabilities, theirs: ServerCapabilities) -> ServerCapabilities {
    let either = |ours: &mut Option<bool>, theirs: Option<bool>| {
        *ours = ours.filter(|yes| *yes).or(theirs).or(*ours);
    };
    if let Some(theirs) = theirs.tools {
        either(&mut own.tools.get_or_insert_default().list_changed, theirs.list_changed);
    }
    if let Some(theirs) = theirs.prompts {
        either(&mut own.prompts.get_or_insert_default().list_changed, theirs.list_changed);
    }
    if let Some(theirs) = theirs.resources {
        let ours = own.resources.get_or_insert_default();
        either(&mut ours.list_changed, theirs.list_changed);
        either(&mut ours.subscribe, theirs.subscribe);
    }
    own.logging = own.logging.or(theirs.logging);
    own.completions = own.completions.or(theirs.completions);
    if let Some(theirs) = theirs.experimental {
        let ours = own.experimental.get_or_insert_default();
        theirs.into_iter().for_each(|(name, it)| _ = ours.entry(name).or_insert(it));
    }
    if let Some(theirs) = theirs.extensions {
        let ours = own.extensions.get_or_insert_default();
        theirs.into_iter().for_each(|(name, it)| _ = ours.entry(name).or_insert(it));
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_either_can_both_can_and_what_husk_says_stands() {
        let own = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tasks()
            .build();
        let theirs = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_resources()
            .enable_skills()
            .build();
        let joined = capabilities(own.clone(), theirs);
        assert_eq!(joined.tools.unwrap().list_changed, Some(true));
        assert_eq!(joined.prompts.unwrap().list_changed, None);
        assert_eq!(joined.resources.unwrap().subscribe, Some(true));
        let extensions = joined.extensions.unwrap();
        assert_eq!(extensions.len(), 2, "{extensions:?}");
        assert_eq!(capabilities(own.clone(), ServerCapabilities::default()), own);
        let config = |told: &str| ServerConfig::default().with_instructions(told);
        let told = both(config("ours"), config("theirs")).instructions;
        assert_eq!(told.as_deref(), Some("ours\ntheirs"));
    }
}
