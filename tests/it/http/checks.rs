//! What each request passes before it is served.

use serde_json::{Value, json};

use crate::support::{
    husk,
    web::{Served, hello, post, send},
};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// Shakes hands with these headers.
fn answers(served: &Served, header: &[&str], status: u16) {
    let mut answer = post(&served.at, header, &hello());
    let (got, text) = (answer.status, answer.text());
    assert_eq!(got, status, "{header:?}: {text}");
}

#[test]
fn pages_of_others_are_refused() {
    let served = Served::start(&["--set", "http.origins=https://app.example.com"]);
    answers(&served, &[], 200);
    answers(&served, &["Origin: https://evil.example"], 403);
    answers(&served, &["Origin: null"], 403);
    answers(&served, &["Origin: http://localhost:6274"], 200);
    answers(&served, &["Origin: https://app.example.com"], 200);
}

#[test]
fn rebound_names_are_refused() {
    let served = Served::start(&["--set", "http.hosts=husk.example.com"]);
    answers(&served, &["Host: evil.example"], 403);
    answers(&served, &["Host: husk.example.com"], 200);
    // Also where nothing of MCP is asked for.
    assert_eq!(send(&served.at, "GET /mcp", &["Host: evil.example"], b"").status, 403);
    assert_eq!(send(&served.at, "GET /view", &["Host: evil.example"], b"").status, 403);
    assert_eq!(send(&served.at, "GET /view", &["Host: husk.example.com"], b"").status, 200);
    // Who watches over the server knows it by other names.
    assert_eq!(send(&served.at, "GET /healthz", &["Host: pod"], b"").status, 200);
    assert_eq!(send(&served.at, "GET /readyz", &["Host: pod"], b"").status, 200);
    assert_eq!(send(&served.at, "GET /else", &[], b"").status, 404);
}

#[test]
fn a_page_that_may_call_is_told_so_and_another_is_not() {
    let data = tempfile::tempdir().unwrap();
    Served::token(&data, "alice", &[]);
    let served = Served::start_in(data, &["--set", "http.origins=https://app.example.com"]);
    let preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let asked = "Access-Control-Request-Headers: authorization,mcp-session-id";
        send(&served.at, "OPTIONS /mcp", &[&origin, asked], b"")
    };
    let allowed = preflight("https://app.example.com");
    assert_eq!(allowed.status, 204);
    let header = |name: &str| allowed.header(name).unwrap_or_default();
    assert_eq!(header("access-control-allow-origin"), "https://app.example.com");
    assert_eq!(header("access-control-allow-headers"), "authorization,mcp-session-id");
    assert!(header("vary").contains("origin"));
    let refused = preflight("https://evil.example");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    // It can read why it was not let in.
    let answer = post(&served.at, &["Origin: https://app.example.com"], &hello());
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("mcp-session-id") && exposed.contains("www-authenticate"));
}

#[test]
fn an_address_that_asks_too_often_is_refused_before_it_is_known() {
    let data = tempfile::tempdir().unwrap();
    Served::token(&data, "alice", &[]);
    let served = Served::start_in(data, &["--set", "http.requests_per_minute=20"]);
    let statuses: Vec<u16> = (0..30).map(|_| post(&served.at, &[], &hello()).status).collect();
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert!(statuses[0] == 401 && (5..=10).contains(&limited), "{statuses:?}");
    let answer = post(&served.at, &[], &hello());
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
}

#[test]
fn without_tokens_no_server_listens_where_others_reach_it_unless_that_is_said() {
    let data = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        let mut command = husk();
        command.env("HUSK_DATA_DIR", data.path()).args(args);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let told = refused(&["serve", "--http", "0.0.0.0:0"]);
    assert!(told.contains("husk token new") && told.contains("--without-authentication"), "{told}");
    Served::token(&data, "alice", &[]);
    let told = refused(&["serve", "--http", "0.0.0.0:0", "--without-authentication"]);
    assert!(told.contains("told apart by tokens"), "{told}");
    let told = refused(&["serve", "--http", "127.0.0.1:0", "--tls-cert", "x.pem"]);
    assert!(told.contains("--tls-key"), "{told}");
    assert!(refused(&["serve", "--http", "nowhere"]).contains("127.0.0.1:8931"));
}

#[test]
fn what_is_too_large_or_no_request_is_refused_and_others_are_served() {
    let served = Served::start(&["--set", "http.max_body_bytes=1000000"]);
    let mut client = served.client(None);
    let large = json!({"jsonrpc": "2.0", "id": 1, "method": "ping", "pad": "x".repeat(10 << 20)});
    assert_eq!(post(&served.at, &[], &large).status, 413);
    let check = |body: &[u8], headers: &[&str], status: u16| {
        let mut answer = send(&served.at, "POST /mcp", headers, body);
        let shown = String::from_utf8_lossy(body).into_owned();
        let (got, text) = (answer.status, answer.text());
        assert_eq!(got, status, "{shown}: {text}");
    };
    let json = "Content-Type: application/json";
    let both = "Accept: application/json, text/event-stream";
    check(PING.as_bytes(), &["Content-Type: text/plain", both], 415);
    check(PING.as_bytes(), &[json, "Accept: text/html"], 406);
    check(&[0xff; 100], &[json, both], 400);
    check(b"{", &[json, both], 400);
    assert_eq!(client.ask("ping", json!({}))["result"], json!({}));
}

#[test]
fn plain_json_is_answered_where_no_stream_is_wanted() {
    let served = Served::start(&["--json-response"]);
    let mut answer = post(&served.at, &[], &hello());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("mcp-session-id"), None);
    let message: Value = answer.message().unwrap();
    assert_eq!(message["result"]["serverInfo"]["name"], "husk");
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "notebook_run_cell", "arguments": {"code": "print(6 * 7)"}}});
    let mut answer = post(&served.at, &["MCP-Protocol-Version: 2025-11-25"], &call);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.message().unwrap()["result"]["content"][0]["text"], "42\n");
}
