//! What cells reach through husk's proxy, what they do not, and what they are told of it: real
//! kernels in namespaces, real hosts on this machine.

use std::{os::unix::fs::PermissionsExt, process::Stdio, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    HUSK,
    host::{Answer, Host},
    husk, python,
};

mod packages;
mod site;

use site::{Served, Site};

/// A server whose cells may reach these hosts.
fn host(entries: &[&str]) -> Host {
    let hosts = serde_json::to_string(entries).unwrap();
    Host::start_with(&[
        ("HUSK_SANDBOX_ISOLATION", "namespaces"),
        ("HUSK_SANDBOX_NETWORK", "allowlist"),
        ("HUSK_SANDBOX_NETWORK_HOSTS", &hosts),
    ])
}

fn hint(answer: &Answer) -> &str {
    answer.structured()["hint"].as_str().unwrap_or_default()
}

fn status(host: &mut Host) -> Value {
    host.tool("sandbox_status", json!({})).structured()["sessions"][0].clone()
}

#[test]
fn named_hosts_are_reached_over_plain_http_and_over_tls() {
    let (plain, tls) = (Site::open(), Served::script(include_str!("tls.py")));
    let mut host = host(&[&plain.entry(), &format!("localhost:{}", tls.port)]);
    let url = format!("http://127.0.0.1:{}/path?a=b", plain.port);
    host.ok("import httpx2, socket, ssl, urllib.request");
    let text = host.ok(&format!("print(urllib.request.urlopen({url:?}).read().decode())"));
    assert!(text.contains("hello to GET /path?a=b HTTP/1.1"), "{text}");
    let text = host.ok(&format!("print(httpx2.post({url:?}, content=b'').text)"));
    assert!(text.contains("hello to POST /path?a=b"), "{text}");
    assert_eq!(plain.taken(), 2);

    let certificate = tls.said.replace('|', "\n");
    let https = format!("https://localhost:{}/", tls.port);
    host.ok(&format!("trusted = ssl.create_default_context(cadata={certificate:?})"));
    let text = host
        .ok(&format!("print(urllib.request.urlopen({https:?}, context=trusted).read().decode())"));
    assert!(text.contains("hello over TLS"), "{text}");
    let text = host.ok(&format!("print(httpx2.get({https:?}, verify=trusted).text)"));
    assert!(text.contains("hello over TLS"), "{text}");

    // The way that was opened to one name is not for another.
    let answer = host.cell(&format!(
        "way = socket.create_connection(('127.0.0.1', 3128))
way.sendall(b'CONNECT localhost:{0} HTTP/1.1\\r\\n\\r\\n')
assert b' 200 ' in way.recv(1000)
ssl.create_default_context().wrap_socket(way, server_hostname='other.test')",
        tls.port
    ));
    assert_eq!(answer.structured()["error"]["name"], "SSLError", "{answer:?}");
    assert!(hint(&answer).contains("blocked: other.test:"), "{answer:?}");
    assert!(hint(&answer).contains("asked for inside a connection to localhost"), "{answer:?}");

    let report = status(&mut host)["sandbox"].clone();
    assert_eq!(
        (&report["network"], &report["hosts"][0]),
        (&json!("allowlist"), &json!(plain.entry()))
    );
}

#[test]
fn a_host_that_is_not_named_is_refused_and_the_answer_says_what_would_open_it() {
    let (named, other) = (Site::open(), Site::open());
    let mut host = host(&[&named.entry()]);
    host.ok(
        "import urllib.request, socket\nfetch = lambda url: urllib.request.urlopen(url).read()",
    );
    let blocked = "blocked: other.test:443; allow with \"other.test\" in sandbox.network_hosts";
    let answer = host.cell("fetch('https://other.test/')");
    let error = answer.structured()["error"]["value"].as_str().unwrap();
    assert!(error.contains(&format!("Tunnel connection failed: 403 {blocked}")), "{answer:?}");
    assert_eq!(hint(&answer), blocked);
    assert!(answer.text().ends_with(&format!("[{blocked}]")), "{}", answer.text());

    // What is not told twice is told by the status.
    assert_eq!(hint(&host.cell("1")), "");
    let answer = host.cell(&format!("fetch('http://127.0.0.1:{}/')", other.port));
    assert_eq!(answer.structured()["error"]["name"], "HTTPError", "{answer:?}");
    let local = format!(
        "blocked: 127.0.0.1:{0}, a port that is not named; allow with \"127.0.0.1:{0}\" in \
         sandbox.network_hosts",
        other.port
    );
    assert_eq!(hint(&answer), local);
    assert_eq!(status(&mut host)["blocked"], json!([blocked, local]));
    let shown = host.tool("sandbox_status", json!({})).text();
    assert!(shown.contains(&format!("\n  {blocked}\n  {local}")), "{shown}");

    // Nor by another way than the proxy.
    let answer = host.cell("socket.create_connection(('other.test', 443))");
    assert!(hint(&answer).contains("only through the proxy in HTTP_PROXY"), "{answer:?}");
    assert_eq!((named.taken(), other.taken()), (0, 0));
}

#[test]
fn a_name_that_leads_to_this_machine_does_not_open_it() {
    let site = Site::open();
    let workspace = tempfile::tempdir().unwrap();
    let names = workspace.path().join("names");
    std::fs::write(&names, "127.0.0.1 inside.test localhost\n169.254.169.254 keys.test\n").unwrap();
    std::fs::set_permissions(&names, std::fs::Permissions::from_mode(0o644)).unwrap();
    // A server that looks names up in that file.
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
    command.arg(format!("mount --bind '{}' /etc/hosts && exec {HUSK}", names.display()));
    for (name, _) in husk().get_envs() {
        command.env_remove(name);
    }
    command.env("HUSK_PYTHON", python()).current_dir(workspace.path()).stderr(Stdio::null());
    command.envs([
        ("HUSK_SANDBOX_ISOLATION", "namespaces"),
        ("HUSK_SANDBOX_NETWORK", "allowlist"),
        ("HUSK_SANDBOX_NETWORK_HOSTS", &format!("*:{},*", site.port)),
    ]);
    let mut host = Host::run(command, workspace);
    host.initialize("2025-11-25");
    host.ok("import urllib.request");
    let check = |host: &mut Host, url: &str, expected: &str| {
        let answer = host.cell(&format!("urllib.request.urlopen({url:?})"));
        assert_eq!(answer.structured()["error"]["name"], "HTTPError", "{answer:?}");
        assert!(hint(&answer).contains(expected), "{url}: {answer:?}");
    };
    let own = format!(
        "blocked: inside.test:{}, whose address 127.0.0.1 is this machine's own",
        site.port
    );
    check(&mut host, &format!("http://inside.test:{}/", site.port), &own);
    check(
        &mut host,
        "http://keys.test/",
        "whose address 169.254.169.254 is a cloud's metadata service",
    );
    assert_eq!(site.taken(), 0);
}

#[test]
fn without_a_network_the_reason_is_told_as_well() {
    let settings = [("HUSK_SANDBOX_ISOLATION", "namespaces")];
    let mut host = Host::start_with(&settings);
    let reason = "blocked: example.com:443; allow with sandbox.network = \"allowlist\" and \
                  sandbox.network_hosts = [\"example.com\"] (now: sandbox.network = \"none\")";
    let answer = host.cell("import urllib.request; urllib.request.urlopen('https://example.com/')");
    assert!(answer.text().contains(&format!("403 {reason}")), "{answer:?}");
    assert_eq!(hint(&answer), reason);
    let answer = host.cell("import socket; socket.create_connection(('example.com', 443))");
    assert!(hint(&answer).contains("cells reach no network here"), "{answer:?}");
    // What is inside is reached without a detour.
    let local = "import http.server, threading
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for name in ('127.0.0.1', 'localhost'):
    print('reached', urllib.request.urlopen(f'http://{name}:{server.server_port}/').status)";
    assert_eq!(host.ok(local).matches("reached 200").count(), 2);
}

#[test]
fn behind_landlock_there_is_no_allow_list() {
    let mut host = Host::start_with(&[
        ("HUSK_SANDBOX_ISOLATION", "landlock"),
        ("HUSK_SANDBOX_NETWORK", "allowlist"),
    ]);
    let answer = host.cell("print('ran')");
    let expected = "level `landlock` cannot give `sandbox.network = \"allowlist\"`, because it has no \
                    network of its own; use level `namespaces`";
    assert!(answer.is_error() && answer.text().contains(expected), "{answer:?}");
}

#[test]
fn a_thousand_connections_and_some_that_never_end_leave_the_server_at_ease() {
    let site = Site::open();
    let mut host = host(&[&site.entry()]);
    host.ok("import socket, concurrent.futures
def begin(text):
    way = socket.create_connection(('127.0.0.1', 3128))
    way.sendall(text.encode())
    return way
def end(way):
    said = b''
    while part := way.recv(65536): said += part
    return said");
    let request = format!("GET http://127.0.0.1:{}/ HTTP/1.0\\r\\n\\r\\n", site.port);
    let text = host.ok(&format!(
        "ways = [begin('{request}') for _ in range(1000)]
with concurrent.futures.ThreadPoolExecutor(64) as threads: said = list(threads.map(end, ways))
for way in ways: way.close()
print(sum(each.endswith(b'HTTP/1.1') and b' 200 ' in each for each in said), 'answers')"
    ));
    assert!(text.contains("1000 answers"), "{text}");
    assert_eq!(site.taken(), 1000);

    // More than are taken at once, and none of them says all that it has to say.
    let slow = host.begin_cell(&format!(
        "slow = [begin('GET http://127.0.0.1:{}/ HTTP/1.1\\r\\nX: ') for _ in range(200)]
print(end(begin('{request}')).endswith(b'HTTP/1.1'))",
        site.port
    ));
    // The server has an ear for others all the while.
    assert_eq!(status(&mut host)["state"], "busy");
    assert!(host.result(slow).text().contains("True"));
    assert_eq!(site.taken(), 1001);
}

#[test]
fn a_kernel_that_vanishes_lets_its_hosts_go() {
    let site = Site::open();
    let mut host = host(&[&site.entry()]);
    let answer = host.cell(&format!(
        "import os, socket
ways = [socket.create_connection(('127.0.0.1', 3128)) for _ in range(20)]
for way in ways:
    way.sendall(b'CONNECT 127.0.0.1:{} HTTP/1.1\\r\\n\\r\\n')
    assert b' 200 ' in way.recv(1000)
os._exit(1)",
        site.port
    ));
    assert_eq!(answer.status(), "kernel_died", "{answer:?}");
    for _ in 0..20 {
        site.ended.lock().unwrap().recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert_eq!(site.taken.load(Ordering::SeqCst), 20);
    // The next kernel has a proxy of its own.
    let url = format!("http://127.0.0.1:{}/", site.port);
    let text =
        host.ok(&format!("import urllib.request; print(urllib.request.urlopen({url:?}).status)"));
    assert!(text.starts_with("200"), "{text}");
}
