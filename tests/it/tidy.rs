//! The house rules that a machine can check: floors, doors, file length, `//!` openings, and that
//! what the documents name is there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// The architecture: a module may name modules on lower floors only. The crate's documentation
/// prints the same table.
const FLOORS: &[&[&str]] = &[
    &["base", "tls"],
    &["guard", "jail", "kernel", "proxy", "redis_client", "store"],
    &["llm", "notebook", "replica", "sandbox"],
    &["agent", "mcp", "tenant"],
    &["app", "cli", "config", "schema", "telemetry"],
];

/// Names on the same floor or above, each a decision. `config` composes what the modules' settings
/// are, so nothing below may name it; on its own floor the entry modules build on one another.
const STAIRS: &[(&str, &str)] = &[
    ("sandbox", "notebook"),
    ("app", "config"),
    ("schema", "config"),
    ("cli", "app"),
    ("cli", "config"),
    ("cli", "schema"),
    ("cli", "telemetry"),
];

/// Who may name an outside crate: one door for each foreign system.
const DOORS: &[(&str, &[&str])] = &[
    ("rmcp", &["agent", "mcp"]),
    ("zeromq", &["kernel"]),
    ("tokio_tungstenite", &["kernel"]),
    ("jupyter_protocol", &["kernel"]),
    ("rustix", &["jail"]),
    ("libc", &["jail"]),
    ("landlock", &["jail"]),
    ("seccompiler", &["jail"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("tower", &["agent", "guard", "mcp"]),
    ("sqlx", &["store"]),
    // Three ways of HTTP: what kernels reach goes out through one, who calls husk comes in by the other, and
    // gateways are asked for kernels.
    ("hyper", &["kernel", "mcp", "proxy"]),
    ("hyper_util", &["kernel", "mcp", "proxy"]),
    ("http_body_util", &["kernel", "mcp", "proxy"]),
    ("axum", &["mcp"]),
    ("tokio_rustls", &["kernel", "mcp", "tenant", "tls"]),
    ("redis", &["redis_client", "replica", "tenant"]),
    ("reqwest", &["llm"]),
    ("rustyline", &["cli"]),
    ("pulldown_cmark", &["cli"]),
    ("terminal_size", &["cli"]),
    ("unicode_width", &["cli"]),
    ("rustls", &["llm", "mcp", "telemetry", "tenant", "tls"]),
    ("opentelemetry", &["mcp", "telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("tracing_opentelemetry", &["mcp", "telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
];

const MAX_LINES: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What a file names: modules of this crate, and the first word of every other path.
#[derive(Default)]
struct Named {
    ours: Vec<String>,
    theirs: Vec<String>,
    unsafe_code: bool,
}

impl Named {
    fn tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => self.ours.push(path.ident.to_string()),
            syn::UseTree::Name(name) => self.ours.push(name.ident.to_string()),
            syn::UseTree::Rename(rename) => self.ours.push(rename.ident.to_string()),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item)),
            syn::UseTree::Glob(_) => self.ours.push("*".to_owned()),
        }
    }
}

impl<'a> Visit<'a> for Named {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        match &item.tree {
            syn::UseTree::Path(path) if path.ident == "crate" => self.tree(&path.tree),
            syn::UseTree::Path(path) => self.theirs.push(path.ident.to_string()),
            _ => {}
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let mut words = path.segments.iter().map(|segment| segment.ident.to_string());
        let first = words.next().unwrap();
        if let Some(second) = words.next().filter(|_| first == "crate") {
            self.ours.push(second);
        }
        self.theirs.push(first);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        // Paths inside macros are tokens to syn: `crate::x` is looked for in their text.
        let text = item.tokens.to_string();
        for (at, _) in text.match_indices("crate :: ") {
            let rest = &text[at + "crate :: ".len()..];
            self.ours.extend(
                rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned),
            );
        }
        visit::visit_macro(self, item);
    }

    fn visit_expr_unsafe(&mut self, item: &'a syn::ExprUnsafe) {
        self.unsafe_code = true;
        visit::visit_expr_unsafe(self, item);
    }
}

/// The faults of one file of `src/`.
fn faults(relative: &Path, text: &str) -> Vec<String> {
    let floor: BTreeMap<&str, usize> =
        FLOORS.iter().enumerate().flat_map(|(n, all)| all.iter().map(move |m| (*m, n))).collect();
    let shown = relative.display();
    let mut faults = Vec::new();
    if !text.starts_with("//!") {
        faults.push(format!("{shown}: does not open with `//!`"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        faults.push(format!("{shown}: {lines} lines, at most {MAX_LINES}"));
    }
    let me =
        relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
    if matches!(me, "lib" | "main") {
        return faults;
    }
    let Some(mine) = floor.get(me) else {
        faults.push(format!("{shown}: `{me}` is on no floor"));
        return faults;
    };
    let mut named = Named::default();
    named.visit_file(&syn::parse_file(text).unwrap());
    for (door, keepers) in DOORS {
        if named.theirs.iter().any(|word| word == door) && !keepers.contains(&me) {
            faults.push(format!("{shown}: only {keepers:?} may name `{door}`"));
        }
    }
    if named.unsafe_code && me != "jail" {
        faults.push(format!("{shown}: only jail may be unsafe"));
    }
    named.ours.sort();
    named.ours.dedup();
    for other in named.ours.iter().filter(|other| *other != me) {
        match floor.get(other.as_str()) {
            Some(theirs) if theirs < mine || STAIRS.contains(&(me, other)) => {}
            Some(theirs) => {
                faults.push(format!(
                    "{shown}: `{me}` (floor {mine}) names `{other}` (floor {theirs})"
                ));
            }
            None => faults.push(format!("{shown}: `crate::{other}` is no module")),
        }
    }
    faults
}

#[test]
fn modules_only_look_down_and_doors_are_kept() {
    let folder = root().join("src");
    let found: Vec<String> = sources(&folder)
        .iter()
        .flat_map(|path| {
            faults(path.strip_prefix(&folder).unwrap(), &fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn the_rules_catch_what_breaks_them() {
    let check = |file: &str, text: &str, expected: &str| {
        let found = faults(Path::new(file), text);
        assert!(found.iter().any(|fault| fault.contains(expected)), "{file}: {found:?}");
    };
    check(
        "kernel/x.rs",
        "//! x\nuse crate::sandbox::Sandboxes;",
        "`kernel` (floor 1) names `sandbox` (floor 2)",
    );
    check("kernel/x.rs", "//! x\nfn f() { crate::jail::spawn() }", "names `jail`");
    check("kernel/x.rs", "//! x\nfn f() { log!(crate::mcp::X) }", "names `mcp`");
    check("sandbox/x.rs", "//! x\nuse zeromq::Socket;", "may name `zeromq`");
    check("mcp/x.rs", "//! x\nfn f() { unsafe { g() } }", "only jail may be unsafe");
    check("mcp/x.rs", "use std::fmt;", "does not open with");
    check("base/x.rs", &format!("//! x{}", "\n".repeat(600)), "at most 500");
    check("stray.rs", "//! x", "is on no floor");
    assert_eq!(
        faults(Path::new("mcp/x.rs"), "//! x\nuse crate::sandbox::Sandboxes;"),
        Vec::<String>::new()
    );
}

#[test]
fn the_test_files_are_short_and_open_with_what_they_are_for() {
    for path in sources(&root().join("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//!"), "{}: does not open with `//!`", path.display());
        assert!(text.lines().count() <= MAX_LINES, "{}: too long", path.display());
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let expected = [
        "CHANGELOG.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        "docs",
        "examples",
        "schemas",
        "src",
        "target",
        "tests",
    ];
    let mut found: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    found.sort();
    found.retain(|name| name != "target");
    let expected: Vec<&str> = expected.into_iter().filter(|name| *name != "target").collect();
    assert_eq!(found, expected);
}

#[test]
fn the_changelog_knows_the_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}
