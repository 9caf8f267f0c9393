//! An embedder's own tools, resources and prompts beside husk's: any rmcp handler, on husk's whole stack.
//!
//! ```no_run
//! # use husk::{app, config::Config, mcp::guest::Guest};
//! # async fn serve(handler: impl rmcp::ServerHandler) -> Result<(), app::AppError> {
//! app::serve(&Config::default(), Some(Guest::new(handler))).await
//! # }
//! ```
//!
//! `app::http::serve` takes one as well. Kernels are started by the embedder's own program: its `main` begins
//! with [`crate::jail::init::run_if_asked`], as `examples/conformance_server` shows.
//!
//! The guest is reached by every transport. Its tool calls pass all layers of [`crate::guard`], so that a panic
//! is an answer and a call that is cancelled is dropped; they are counted by `usage` and written to the audit
//! log. One handler serves all users: [`caller`] tells who asks. A call that takes long can let its client go
//! (`stream::let_go`), which comes back for the answer.
//!
//! What husk has itself stays husk's: its tools and prompts, and what is named `husk:` or `ui://husk/`. A
//! guest's tools are those that its `get_tool` knows (`#[tool_handler]` writes it); over HTTP they take the
//! scope `notebook:run`. Capabilities are joined. What is told by [`rmcp::service::SubscriptionSink`] reaches
//! hosts that listen.

pub(super) mod joined;
#[cfg(feature = "http")]
pub mod stream;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, CustomNotification, CustomRequest, CustomResult, ErrorCode,
        GetPromptRequestParams, GetPromptResponse, GetSkillRequestParams, GetSkillResult,
        GetTaskParams, GetTaskResult, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListSkillsResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceDirectoryRequestParams, ReadResourceDirectoryResult, ReadResourceRequestParams,
        ReadResourceResponse, ServerConfig, SubscribeRequestParams, Tool, UnsubscribeRequestParams,
        UpdateTaskParams,
    },
    service::{NotificationContext, RequestContext, SubscriptionContext},
};

#[cfg(feature = "http")]
use super::auth::Caller;
use super::auth::Principal;

/// The longest that a call of a guest's tool may take, where the guest does not say.
const LONGEST: Duration = Duration::from_secs(600);

/// What sets the level of log messages, in the revisions that have them.
#[expect(deprecated, reason = "husk speaks those revisions too")]
pub(super) type Level = rmcp::model::SetLevelRequestParams;

/// The future of a guest's answer.
type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Writes down rmcp's handler as a trait that can be an object: requests are handed on as they are.
macro_rules! hosted {
    ($($request:ident($params:ty) -> $result:ty;)*) => {
        /// A handler of which only its requests are known.
        pub(super) trait Hosted: Send + Sync {
            fn info(&self) -> ServerConfig;
            fn tool(&self, name: &str) -> Option<Tool>;
            fn listen(&self, context: SubscriptionContext) -> Asking<'_, Result<(), ErrorData>>;
            fn initialized(&self, context: NotificationContext<RoleServer>) -> Asking<'_, ()>;
            fn roots_changed(&self, context: NotificationContext<RoleServer>) -> Asking<'_, ()>;
            fn notified(
                &self,
                notification: CustomNotification,
                context: NotificationContext<RoleServer>,
            ) -> Asking<'_, ()>;
            $(fn $request(
                &self,
                params: $params,
                context: RequestContext<RoleServer>,
            ) -> Asking<'_, Result<$result, ErrorData>>;)*
        }

        #[expect(deprecated, reason = "older revisions of MCP have them, and husk speaks those")]
        impl<H: ServerHandler> Hosted for H {
            fn info(&self) -> ServerConfig {
                self.get_info()
            }

            fn tool(&self, name: &str) -> Option<Tool> {
                self.get_tool(name)
            }

            fn listen(&self, context: SubscriptionContext) -> Asking<'_, Result<(), ErrorData>> {
                Box::pin(ServerHandler::listen(self, context))
            }

            fn initialized(&self, context: NotificationContext<RoleServer>) -> Asking<'_, ()> {
                Box::pin(self.on_initialized(context))
            }

            fn roots_changed(&self, context: NotificationContext<RoleServer>) -> Asking<'_, ()> {
                Box::pin(self.on_roots_list_changed(context))
            }

            fn notified(
                &self,
                notification: CustomNotification,
                context: NotificationContext<RoleServer>,
            ) -> Asking<'_, ()> {
                Box::pin(self.on_custom_notification(notification, context))
            }

            $(fn $request(
                &self,
                params: $params,
                context: RequestContext<RoleServer>,
            ) -> Asking<'_, Result<$result, ErrorData>> {
                Box::pin(ServerHandler::$request(self, params, context))
            })*
        }
    };
}

hosted! {
    list_tools(Option<PaginatedRequestParams>) -> ListToolsResult;
    call_tool(CallToolRequestParams) -> CallToolResponse;
    list_resources(Option<PaginatedRequestParams>) -> ListResourcesResult;
    list_resource_templates(Option<PaginatedRequestParams>) -> ListResourceTemplatesResult;
    read_resource(ReadResourceRequestParams) -> ReadResourceResponse;
    subscribe(SubscribeRequestParams) -> ();
    unsubscribe(UnsubscribeRequestParams) -> ();
    list_prompts(Option<PaginatedRequestParams>) -> ListPromptsResult;
    get_prompt(GetPromptRequestParams) -> GetPromptResponse;
    complete(CompleteRequestParams) -> CompleteResult;
    set_level(Level) -> ();
    get_task(GetTaskParams) -> GetTaskResult;
    update_task(UpdateTaskParams) -> ();
    cancel_task(CancelTaskParams) -> ();
    list_skills(Option<PaginatedRequestParams>) -> ListSkillsResult;
    get_skill(GetSkillRequestParams) -> GetSkillResult;
    read_resource_directory(ReadResourceDirectoryRequestParams) -> ReadResourceDirectoryResult;
    on_custom_request(CustomRequest) -> CustomResult;
}

impl dyn Hosted + '_ {
    /// Whether clients of older revisions subscribe at it to what is its own.
    pub(super) fn subscribes(&self) -> bool {
        let resources = self.info().capabilities.resources;
        resources.is_some_and(|resources| resources.subscribe == Some(true))
    }
}

/// Lets a guest tell a client that listens; none where there is no guest, once the client listens no more.
pub(super) async fn listen(
    guest: Option<&dyn Hosted>,
    context: SubscriptionContext,
) -> Option<Result<(), ErrorData>> {
    match guest {
        Some(guest) => Some(guest.listen(context).await),
        None => {
            context.cancelled().await;
            None
        }
    }
}

/// The guest, for what husk itself does not have.
///
/// # Errors
/// There is none: nobody knows that method.
pub(super) fn or_nobody<'a>(
    guest: Option<&'a dyn Hosted>,
    method: &str,
) -> Result<&'a dyn Hosted, ErrorData> {
    guest.ok_or_else(|| ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method.to_owned(), None))
}

/// See the module's documentation. Clones are one.
#[derive(Clone)]
pub struct Guest {
    handler: Arc<dyn Hosted>,
    longest: Duration,
    /// Names of tools that were called, made to last: the guards remember them.
    names: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Guest {
    /// This handler as a guest. Its `initialize`, `discover` and `ping` are husk's.
    #[must_use]
    pub fn new(handler: impl ServerHandler) -> Self {
        Self { handler: Arc::new(handler), longest: LONGEST, names: Arc::default() }
    }

    /// The same with a bound on its calls, after which they are answered and dropped (10 minutes, when
    /// nothing is said). What a user is asked counts in.
    #[must_use]
    pub fn with_deadline(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    pub(super) fn deadline(&self) -> Duration {
        self.longest
    }

    pub(super) fn handler(&self) -> &dyn Hosted {
        &*self.handler
    }

    /// The name of its tool of that name; none where it has none.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<&'static str> {
        match self.handler.tool(name)?.name {
            Cow::Borrowed(name) => Some(name),
            // A name that is not the program's own is kept once for each tool, which are few.
            Cow::Owned(name) => {
                let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(known) = names.get(name.as_str()) {
                    return Some(known);
                }
                let name: &'static str = name.leak();
                names.insert(name);
                Some(name)
            }
        }
    }
}

/// Who makes a request: whom a token names over HTTP, else whoever is at this machine.
#[must_use]
pub fn caller(request: &RequestContext<RoleServer>) -> Principal {
    #[cfg(feature = "http")]
    {
        let parts = request.extensions.get::<axum::http::request::Parts>();
        if let Some(caller) = parts.and_then(|parts| parts.extensions.get::<Caller>()) {
            return caller.principal.clone();
        }
    }
    #[cfg(not(feature = "http"))]
    let _ = request;
    Principal::local()
}
