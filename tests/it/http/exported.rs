//! Traces as a collector gets them: OpenTelemetry's own messages, read by OpenTelemetry's own classes.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use serde_json::{Value, json};

use crate::support::{
    python, repository,
    web::{PATIENCE, Served, post},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0b1902b7";
const AROUND: &str = "00-aaf92f3577b34da6a3ce929d0e0e4736-11f067aa0b1902b7-01";

struct Collector {
    child: Child,
    lines: Receiver<String>,
    url: String,
}

impl Collector {
    fn start() -> Self {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients/collector.py"));
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let said = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let _ = said.lines().map_while(Result::ok).try_for_each(|line| sender.send(line));
        });
        let port = lines.recv_timeout(PATIENCE).unwrap();
        Self { child, lines, url: format!("http://127.0.0.1:{port}") }
    }

    /// The next request.
    fn next(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).unwrap()).unwrap()
    }

    /// The next spans, until there are so many.
    fn spans(&self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        while found.len() < count {
            let told = self.next();
            for scope in told["resourceSpans"][0]["scopeSpans"].as_array().unwrap() {
                found.extend(scope["spans"].as_array().unwrap().clone());
            }
        }
        found
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn attribute<'a>(of: &'a Value, name: &str) -> &'a Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|it| it["key"] == name);
    found.map_or(&Value::Null, |it| &it["value"]["stringValue"])
}

/// A call with a trace of its own, within a request of another; what it prints.
fn traced(served: &Served, code: &str) -> String {
    let client = served.client(None);
    let mut headers = client.headers();
    headers.push(format!("traceparent: {AROUND}"));
    let lines: Vec<&str> = headers.iter().map(String::as_str).collect();
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "notebook_run_cell", "arguments": {"code": code, "session": "traced"},
        "_meta": {"traceparent": format!("00-{TRACE}-{SPAN}-01"), "tracestate": "a=b"}}});
    let mut answer = post(&served.at, &lines, &call);
    loop {
        let message = answer.message().unwrap();
        if message["id"] == 7 {
            return message["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
        }
    }
}

#[test]
fn a_call_is_a_span_below_its_callers_with_the_names_of_the_conventions() {
    let collector = Collector::start();
    let served = Served::start_with(
        tempfile::tempdir().unwrap(),
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=planted"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ],
    );
    let told =
        traced(&served, "import os; print(os.environ['TRACEPARENT'], os.environ['TRACESTATE'])");
    let request = collector.next();
    assert_eq!(request["key"], "planted");
    let resource = &request["resourceSpans"][0]["resource"];
    assert_eq!(attribute(resource, "service.name"), "husk");
    assert_eq!(attribute(resource, "deployment.environment.name"), "test");
    let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 1, "{request}");
    let span = &spans[0];
    assert_eq!(span["name"], "tools/call notebook_run_cell");
    assert_eq!(span["kind"], "SPAN_KIND_SERVER");
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!(span["links"][0]["traceId"], AROUND[3..35], "{span}");
    for (name, expected) in [
        ("mcp.method.name", "tools/call"),
        ("mcp.protocol.version", "2025-11-25"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "notebook_run_cell"),
        ("jsonrpc.request.id", "7"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("husk.session", "traced"),
    ] {
        assert_eq!(attribute(span, name), expected, "{name}: {span}");
    }
    assert!(attribute(span, "mcp.session.id").as_str().is_some_and(|id| !id.is_empty()), "{span}");
    assert!(attribute(span, "error.type").is_null() && span["status"]["code"].is_null(), "{span}");
    assert!(!request.to_string().contains("os.environ"), "the code is in it: {request}");
    // The kernel is below husk's span.
    let ours = span["spanId"].as_str().unwrap();
    assert_eq!(told, format!("00-{TRACE}-{ours}-01 a=b\n"));
    // A call that fails says so, one that is no tool's as well, and so does a refusal.
    traced(&served, "1/0");
    let mut client = served.client(None);
    client.ask("tools/call", json!({"name": "no_such_tool", "arguments": {}}));
    client.call("notebook_run_cell", json!({"code": "1", "session": "../x"}));
    let spans = collector.spans(3);
    let of = |n: usize, name: &str| attribute(&spans[n], name).clone();
    assert!(spans.iter().all(|span| span["status"]["code"] == "STATUS_CODE_ERROR"), "{spans:?}");
    assert_eq!(of(0, "error.type"), "tool_error");
    assert_eq!((&spans[1]["name"], of(1, "error.type")), (&json!("tools/call"), json!("-32602")));
    assert_eq!(of(1, "rpc.response.status_code"), "-32602");
    assert_eq!(of(2, "husk.denied_by"), "arguments");
    // Without a caller's trace it is the beginning of one, which its kernel belongs to.
    assert!(spans[2]["parentSpanId"].is_null() || spans[2]["parentSpanId"] == "", "{}", spans[2]);
}

#[test]
fn the_last_spans_are_sent_before_the_end() {
    let collector = Collector::start();
    let traces = format!("{}/v1/traces", collector.url);
    let mut served = Served::start_with(
        tempfile::tempdir().unwrap(),
        &[],
        &[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
            ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
            ("OTEL_SERVICE_NAME", "mine"),
        ],
    );
    served.client(None).call("usage", json!({}));
    assert!(served.terminate().success());
    let request = collector.next();
    assert_eq!(attribute(&request["resourceSpans"][0]["resource"], "service.name"), "mine");
    let span = &request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "tools/call usage", "{request}");
}

#[test]
fn a_collector_that_is_away_or_silent_stands_in_nobodys_way() {
    // It takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let away = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    for at in [silent.local_addr().unwrap(), away] {
        let url = format!("http://{at}");
        let mut served = Served::start_with(
            tempfile::tempdir().unwrap(),
            &[],
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
                ("OTEL_BSP_SCHEDULE_DELAY", "1"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "8"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
            ],
        );
        let mut client = served.client(None);
        // Many more than there is room for.
        for _ in 0..200 {
            client.call("usage", json!({}));
        }
        assert_eq!(client.run("main", "print(6 * 7)"), "42\n");
        assert!(served.terminate().success());
    }
}

#[test]
fn what_cannot_be_obeyed_is_told_and_the_server_serves() {
    let mut served = Served::start_with(
        tempfile::tempdir().unwrap(),
        &[],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "no address"), ("OTEL_TRACES_EXPORTER", "otlp")],
    );
    assert!(served.client(None).call("usage", json!({}))["isError"] != true);
    assert!(served.terminate().success());
    let log = served.said();
    assert!(log.contains("no traces are sent"), "{log}");
}
