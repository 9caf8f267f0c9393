//! A call's trace: taken from what its caller says, and told to the kernel.

use serde_json::{Value, json};

use crate::support::{
    asked::ERAS,
    host::Host,
    web::{Served, post},
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-01";
const OTHER: &str = "00-aaf92f3577b34da6a3ce929d0e0e4736-00f067aa0b1902b7-00";
/// Prints what a program that the cell starts has of a trace.
const TOLD: &str = "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'import os; \
    print([os.environ.get(it) for it in (\"TRACEPARENT\", \"TRACESTATE\", \"BAGGAGE\")])'], \
    stdout=subprocess.PIPE, text=True).stdout, end='')";

fn told(host: &mut Host, meta: Value) -> String {
    let params = json!({"name": "notebook_run_cell", "arguments": {"code": TOLD}, "_meta": meta});
    let result = host.call("tools/call", params)["result"].take();
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn each_cells_trace_is_in_its_environment_and_gone_with_the_next() {
    for era in ERAS {
        let mut host = Host::start_as(era, &json!({}), &[]);
        assert_eq!(told(&mut host, json!({})), "[None, None, None]\n", "{era}");
        let all = json!({"traceparent": PARENT, "tracestate": "a=b", "baggage": "user=alice;x"});
        let expected = format!("['{PARENT}', 'a=b', 'user=alice;x']\n");
        assert_eq!(told(&mut host, all), expected, "{era}");
        // Another call of another trace, in the same kernel.
        let expected = format!("['{OTHER}', None, None]\n");
        assert_eq!(told(&mut host, json!({"traceparent": OTHER})), expected, "{era}");
        assert_eq!(told(&mut host, json!({})), "[None, None, None]\n", "{era}");
    }
}

#[test]
fn what_a_cell_has_set_itself_stays() {
    let mut host = Host::start(&[]);
    host.ok("import os; os.environ['BAGGAGE'] = 'mine'");
    let expected = format!("['{PARENT}', None, 'mine']\n");
    assert_eq!(told(&mut host, json!({"traceparent": PARENT})), expected);
    host.ok("os.environ['TRACEPARENT'] = 'mine'");
    assert_eq!(told(&mut host, json!({})), "['mine', None, 'mine']\n");
}

#[test]
fn what_is_no_trace_reaches_no_environment() {
    let mut host = Host::start(&[]);
    let long = "x".repeat(10_000);
    for hostile in [
        json!({"traceparent": format!("{PARENT}\nLD_PRELOAD=/tmp/x")}),
        json!({"traceparent": "$(touch x)", "tracestate": "a=b"}),
        json!({"traceparent": {"a": 1}, "baggage": ["a=b"]}),
        json!({"tracestate": "a=b"}),
        json!({"baggage": "a=b\u{0}c"}),
        json!({"baggage": format!("a={long}")}),
    ] {
        assert_eq!(told(&mut host, hostile.clone()), "[None, None, None]\n", "{hostile}");
    }
    // What is wrong takes nothing along that is right.
    let half = json!({"traceparent": PARENT, "tracestate": "\u{1b}[2J", "baggage": "a=b"});
    assert_eq!(told(&mut host, half), format!("['{PARENT}', None, 'a=b']\n"));
}

#[test]
fn headers_tell_of_a_trace_where_the_message_does_not() {
    let served = Served::start(&[]);
    let mut client = served.client(None);
    client.run("main", "1");
    let told = |headers: &[&str], meta: Value| {
        let params = json!({"name": "notebook_run_cell", "arguments": {"code": TOLD},
            "_meta": meta});
        let call = json!({"jsonrpc": "2.0", "id": 77, "method": "tools/call", "params": params});
        let own = client.headers();
        let lines = own.iter().map(String::as_str).chain(headers.iter().copied());
        let mut answer = post(&served.at, &lines.collect::<Vec<_>>(), &call);
        loop {
            let message = answer.message().unwrap();
            if message["id"] == 77 {
                break message["result"]["content"][0]["text"].as_str().unwrap().to_owned();
            }
        }
    };
    let parent = format!("traceparent: {PARENT}");
    let headers = [parent.as_str(), "tracestate: a=b", "tracestate: c=d", "baggage: k=v"];
    assert_eq!(told(&headers, json!({})), format!("['{PARENT}', 'a=b,c=d', 'k=v']\n"));
    let said = json!({"traceparent": OTHER});
    assert_eq!(told(&headers, said), format!("['{OTHER}', None, None]\n"));
    let twice = [parent.as_str(), &parent];
    assert_eq!(told(&twice, json!({})), "[None, None, None]\n");
}
