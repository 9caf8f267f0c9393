//! What a caller may do: the scopes, and which of them a request needs.

use std::fmt;

use crate::mcp::tools;

/// One of the things that a caller may be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To look: at sessions, variables, notebooks, use.
    Read,
    /// To run code, which includes to look.
    Run,
    /// To see and stop what belongs to others.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Run, Self::Admin];

    /// Its name in tokens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "notebook:read",
            Self::Run => "notebook:run",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

/// All that a caller is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes {
    read: bool,
    run: bool,
    admin: bool,
}

impl Scopes {
    /// What a user may do with what is their own.
    pub const ALL_BUT_ADMIN: Self = Self { read: true, run: true, admin: false };

    /// Those of these names; others say nothing here.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        for scope in names.into_iter().filter_map(Scope::named) {
            match scope {
                Scope::Read => scopes.read = true,
                Scope::Run => (scopes.read, scopes.run) = (true, true),
                Scope::Admin => scopes.admin = true,
            }
        }
        scopes
    }

    /// Whether that is allowed.
    #[must_use]
    pub fn has(self, scope: Scope) -> bool {
        match scope {
            Scope::Read => self.read,
            Scope::Run => self.run,
            Scope::Admin => self.admin,
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = Scope::ALL.into_iter().filter(|scope| self.has(*scope));
        f.write_str(&has.map(Scope::name).collect::<Vec<_>>().join(" "))
    }
}

/// The scope that a request needs; none for what says nothing of anybody's notebooks.
#[must_use]
pub fn needed(method: &str, tool: Option<&str>) -> Option<Scope> {
    match method {
        "tools/call" => {
            let tool = tools::ALL.into_iter().find(|it| Some(it.name) == tool);
            Some(if tool.is_some_and(|it| it.only_looks()) { Scope::Read } else { Scope::Run })
        }
        "tasks/update" | "tasks/cancel" => Some(Scope::Run),
        "initialize"
        | "ping"
        | "server/discover"
        | "logging/setLevel"
        | "tools/list"
        | "prompts/list"
        | "resources/templates/list" => None,
        method if method.starts_with("notifications/") => None,
        _ => Some(Scope::Read),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_run_includes_to_look_and_nothing_else_includes_anything() {
        let check = |names: &[&str], has: [bool; 3]| {
            let scopes = Scopes::of(names.iter().copied());
            assert_eq!(Scope::ALL.map(|scope| scopes.has(scope)), has, "{names:?}");
        };
        check(&[], [false, false, false]);
        check(&["notebook:read"], [true, false, false]);
        check(&["notebook:run", "openid"], [true, true, false]);
        check(&["admin"], [false, false, true]);
        check(&["Admin", "notebook"], [false, false, false]);
        assert_eq!(Scopes::of(["notebook:run"]).to_string(), "notebook:read notebook:run");
    }

    #[test]
    fn what_is_not_known_to_be_harmless_needs_a_scope() {
        let check = |method: &str, tool: Option<&str>, expected: Option<Scope>| {
            assert_eq!(needed(method, tool), expected, "{method} {tool:?}");
        };
        check("tools/call", Some("notebook_run_cell"), Some(Scope::Run));
        check("tools/call", Some("notebook_interrupt"), Some(Scope::Run));
        check("tools/call", Some("sandbox_reset"), Some(Scope::Run));
        check("tools/call", Some("sandbox_status"), Some(Scope::Read));
        check("tools/call", Some("notebook_inspect"), Some(Scope::Read));
        check("tools/call", Some("a_new_one"), Some(Scope::Run));
        check("tools/call", None, Some(Scope::Run));
        check("resources/read", None, Some(Scope::Read));
        check("something/new", None, Some(Scope::Read));
        check("tasks/cancel", None, Some(Scope::Run));
        check("initialize", None, None);
        check("notifications/initialized", None, None);
    }
}
