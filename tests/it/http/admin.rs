//! Who looks after the server: what an admin sees and does, and nobody else.

use serde_json::{Value, json};

use crate::support::web::{Answer, Served, send};

fn ask(served: &Served, line: &str, token: &str, body: &Value) -> Answer {
    let auth = format!("Authorization: Bearer {token}");
    send(&served.at, line, &[&auth, "Content-Type: application/json"], body.to_string().as_bytes())
}

#[test]
fn an_admin_sees_and_stops_what_belongs_to_all_and_a_user_does_not() {
    let data = tempfile::tempdir().unwrap();
    let alice = Served::token(&data, "alice", &[]);
    let admin = Served::token(&data, "root", &["admin"]);
    let served = Served::start_in(data, &[]);
    let mut client = served.client(Some(&alice));
    assert_eq!(client.run("mine", "x = 1; print(x)"), "1\n");
    let stop = json!({"principal": "token:alice", "session": "mine"});
    for line in ["GET /admin/sessions", "GET /admin/usage", "POST /admin/stop", "POST /admin/reset"]
    {
        let answer = ask(&served, line, &alice, &stop);
        assert_eq!(answer.status, 403, "{line}");
        assert!(answer.header("www-authenticate").unwrap().contains("scope=\"admin\""), "{line}");
        assert_eq!(send(&served.at, line, &[], b"{}").status, 401, "{line}");
    }
    let told = |line: &str| -> Value {
        serde_json::from_str(&ask(&served, line, &admin, &Value::Null).text()).unwrap()
    };
    let sessions = told("GET /admin/sessions");
    assert_eq!(sessions[0]["principal"], "token:alice", "{sessions}");
    assert_eq!(sessions[0]["sessions"][0]["session"], "mine", "{sessions}");
    assert_eq!(sessions[0]["mcp_sessions"], 1, "{sessions}");
    let usage = told("GET /admin/usage");
    assert_eq!(usage[0]["total"]["calls"], 1, "{usage}");
    assert_eq!(ask(&served, "POST /admin/stop", &admin, &stop).status, 200);
    assert_eq!(client.run("mine", "print('x' in globals())"), "False\n");
    let reset = ask(&served, "POST /admin/reset", &admin, &json!({"principal": "token:alice"}));
    assert_eq!(reset.status, 200);
    let unknown = json!({"principal": "token:bob", "session": "mine"});
    assert_eq!(ask(&served, "POST /admin/stop", &admin, &unknown).status, 404);
    // To look after others is not to run code.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "notebook_run_cell", "arguments": {"code": "1"}}});
    assert_eq!(ask(&served, "POST /mcp", &admin, &call).status, 403);
}
