//! IPython's own syntax (`%magic`, `!command`, `name?`) as the calls that it stands for.
//!
//! Only where a statement begins: a `%` that goes on with an expression or stands in a text stays.
//! Source: <https://ipython.readthedocs.io/en/stable/interactive/reference.html>.

/// Shell-like magics that people write without `%`.
const BARE: &[&str] = &["pip", "conda", "mamba", "cd", "ls", "mkdir", "rm", "cp", "mv", "cat"];

/// The code of a cell with calls for all of IPython's syntax.
pub(super) fn as_calls(source: &str) -> String {
    if let Some(rest) = source.trim_start().strip_prefix("%%").filter(|rest| named(rest)) {
        let (line, body) = rest.split_once('\n').unwrap_or((rest, ""));
        let (name, arguments) = head(line);
        // IPython ends the last line too.
        let end = if body.is_empty() || body.ends_with('\n') { "" } else { "\n" };
        return call("run_cell_magic", &[name, arguments, &format!("{body}{end}")]);
    }
    let mut calls = Vec::new();
    let mut scanner = Scanner::default();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        let found = if scanner.inside() || statement(code).is_none() { None } else { Some(code) };
        let Some(code) = found else {
            scanner.pass(line);
            calls.push(line.to_owned());
            continue;
        };
        let mut whole = code.trim_end().to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            let Some(next) = lines.next() else { break };
            whole.push_str(next.trim());
        }
        let indent = line.strip_suffix(code).unwrap_or_default();
        calls.push(format!("{indent}{}", statement(&whole).unwrap_or(whole)));
    }
    calls.join("\n")
}

/// The call that a statement in IPython's syntax stands for.
fn statement(code: &str) -> Option<String> {
    let code = code.trim_end();
    if let Some(call) = help(code).or_else(|| escaped(code, "system")) {
        return Some(call);
    }
    if let Some((target, value)) = code.split_once('=') {
        let value = value.trim_start();
        if value.starts_with(['!', '%']) && assignable(target) {
            return Some(format!("{target}= {}", escaped(value, "getoutput")?));
        }
    }
    let (word, rest) = head(code);
    let argument = rest.starts_with(|c: char| c.is_alphanumeric() || "./~$_\"'".contains(c))
        || rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(char::is_alphabetic));
    let operator = ["in", "is", "and", "or", "not", "if", "for"].contains(&head(rest).0);
    (BARE.contains(&word) && argument && !operator).then(|| call("run_line_magic", &[word, rest]))
}

/// `!command`, `!!command` and `%magic`; `shell` is what a single `!` calls.
fn escaped(code: &str, shell: &str) -> Option<String> {
    if let Some(command) = code.strip_prefix("!!") {
        return Some(call("getoutput", &[command.trim()]));
    }
    if let Some(command) = code.strip_prefix('!').filter(|command| !command.starts_with('=')) {
        return Some(call(shell, &[command.trim()]));
    }
    let rest = code.strip_prefix('%').filter(|rest| named(rest))?;
    let (name, arguments) = head(rest);
    Some(call("run_line_magic", &[name, arguments]))
}

/// `?name`, `name?` and `name??`.
fn help(code: &str) -> Option<String> {
    let marks = code.chars().filter(|c| *c == '?').count();
    let name = code.strip_prefix('?').or_else(|| code.strip_suffix('?'))?.trim_matches('?').trim();
    let is_name =
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_.*%".contains(c));
    let magic = if marks > 1 { "pinfo2" } else { "pinfo" };
    is_name.then(|| call("run_line_magic", &[magic, name]))
}

fn assignable(target: &str) -> bool {
    let target = target.trim();
    target.starts_with(|c: char| c.is_alphabetic() || "_(*".contains(c))
        && target.chars().all(|c| c.is_alphanumeric() || "_., ()[]*'\"".contains(c))
}

fn named(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '%' || c == '!')
}

/// The first word, and what follows.
fn head(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn call(method: &str, arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(|text| literal(text)).collect();
    format!("get_ipython().{method}({})", arguments.join(", "))
}

/// A text as Python writes it.
fn literal(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            c if c.is_ascii_control() => literal.push_str(&format!("\\x{:02x}", c as u32)),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// Follows Python code line by line, and knows whether the next line begins a statement.
#[derive(Default)]
struct Scanner {
    brackets: usize,
    /// The quotes of an open text.
    quotes: Option<&'static str>,
    continued: bool,
}

impl Scanner {
    fn inside(&self) -> bool {
        self.brackets > 0 || self.quotes.is_some() || self.continued
    }

    fn pass(&mut self, line: &str) {
        self.continued = false;
        let mut rest = line;
        while let Some(c) = rest.chars().next() {
            let (_, after) = rest.split_at(c.len_utf8());
            rest = match self.quotes {
                Some(quotes) => self.pass_text(rest, after, quotes),
                None if c == '#' => return,
                None => self.pass_code(rest, after, c),
            };
        }
        // A text in single quotes ends with its line, unless a backslash goes on with it.
        if !self.continued && self.quotes.is_some_and(|quotes| quotes.len() == 1) {
            self.quotes = None;
        }
    }

    fn pass_text<'a>(&mut self, rest: &'a str, after: &'a str, quotes: &str) -> &'a str {
        if rest.starts_with('\\') {
            self.continued = after.is_empty();
            let mut chars = after.chars();
            chars.next();
            return chars.as_str();
        }
        match rest.strip_prefix(quotes) {
            Some(rest) => {
                self.quotes = None;
                rest
            }
            None => after,
        }
    }

    fn pass_code<'a>(&mut self, rest: &'a str, after: &'a str, c: char) -> &'a str {
        match c {
            '(' | '[' | '{' => self.brackets += 1,
            ')' | ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
            '\\' => self.continued = after.is_empty(),
            _ => {
                for quotes in ["\"\"\"", "'''", "\"", "'"] {
                    if let Some(rest) = rest.strip_prefix(quotes) {
                        self.quotes = Some(quotes);
                        return rest;
                    }
                }
            }
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(as_calls(source), expected, "{source:?}");
    }

    #[test]
    fn ipythons_syntax_becomes_calls() {
        check("!ls -la 'a b'", r"get_ipython().system('ls -la \'a b\'')");
        check("!!ls", "get_ipython().getoutput('ls')");
        check("if x:\n    !pip install y\n", "if x:\n    get_ipython().system('pip install y')");
        check("%matplotlib inline", "get_ipython().run_line_magic('matplotlib', 'inline')");
        check("files = !ls *.py", "files = get_ipython().getoutput('ls *.py')");
        check("t = %timeit -o f(x)", "t = get_ipython().run_line_magic('timeit', '-o f(x)')");
        check(
            "%%bash -e\necho 'a'\n",
            r"get_ipython().run_cell_magic('bash', '-e', 'echo \'a\'\n')",
        );
        check("!a \\\n  b\nc", "get_ipython().system('a b')\nc");
        check("%%time\nf()", r"get_ipython().run_cell_magic('time', '', 'f()\n')");
        check("pip install x", "get_ipython().run_line_magic('pip', 'install x')");
        check("df.head?", "get_ipython().run_line_magic('pinfo', 'df.head')");
        check("??f", "get_ipython().run_line_magic('pinfo2', 'f')");
    }

    #[test]
    fn python_stays_as_it_is() {
        for source in [
            "x = (5\n% 3)",
            "s = '''\n%time\n!ls\n'''",
            "s = 'a' \\\n% 3",
            "print('''it's''', \"#\")  # (\nx != 3",
            "s = 'a\\'(' # '''\nls = 3\nls += 1\ncat in cats\ncat.meow()\nrm -1",
            "s = f\"{x!r}\"\nx = y if z else w  # why?",
            "x == y != z\ns = 'what?'",
            "a = '\\\n!ls'",
            "pip = 3\npip",
        ] {
            check(source, source);
        }
    }
}
