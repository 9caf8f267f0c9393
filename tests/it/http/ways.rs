//! Other ways to the server than plain HTTP over TCP: a unix socket, and TLS.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::{Command, Stdio},
};

use crate::support::{
    husk, python, repository,
    web::{Served, hello},
};

#[test]
fn a_unix_socket_is_this_users_alone_and_goes_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let (data, socket) = (folder.path().join("data"), folder.path().join("h.sock"));
    let mut child = husk()
        .args(["serve", "--http", &format!("unix:{}", socket.display())])
        .env("HUSK_DATA_DIR", &data)
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("listening at unix:"), "{line}");
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&socket).unwrap();
    let body = hello().to_string();
    let head = "POST /mcp HTTP/1.1\r\nHost: husk\r\nConnection: close\r\nContent-Type: application/json\r\n\
        Accept: application/json, text/event-stream";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"serverInfo\""), "{answer}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn tls_is_spoken_where_a_certificate_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let script = |args: &[&str]| {
        let mut command = Command::new(python());
        command.arg(repository().join("tests/clients/tls_client.py")).args(args);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let place = folder.path().to_str().unwrap();
    script(&["make", place]);
    let (cert, key) = (format!("{place}/cert.pem"), format!("{place}/key.pem"));
    let served = Served::start(&["--tls-cert", &cert, "--tls-key", &key]);
    let port = served.at.rsplit_once(':').unwrap().1;
    assert_eq!(script(&["ask", place, port]).trim(), "ready");
    // Who speaks no TLS gets no answer in the clear.
    let mut plain = std::net::TcpStream::connect(&served.at).unwrap();
    plain.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
}
