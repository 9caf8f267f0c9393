//! Hosts on this machine that cells may reach or not: plain HTTP by hand, TLS by a script.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    },
    thread,
};

use crate::support::python;

/// An HTTP host that says hello and counts.
pub(super) struct Site {
    pub(super) port: u16,
    pub(super) taken: Arc<AtomicUsize>,
    /// Says of each connection when it has ended.
    pub(super) ended: Mutex<Receiver<()>>,
}

impl Site {
    /// One on 127.0.0.1.
    pub(super) fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(AtomicUsize::new(0));
        let (tell, ended) = channel();
        let counted = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counted.fetch_add(1, Ordering::SeqCst);
                let tell = tell.clone();
                thread::spawn(move || {
                    answer(stream);
                    let _ = tell.send(());
                });
            }
        });
        Self { port, taken, ended: Mutex::new(ended) }
    }

    /// The entry that opens it.
    pub(super) fn entry(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

/// Says hello to every request, until the other side has ended.
fn answer(stream: TcpStream) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        let body = format!("hello to {first}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if out.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// A program that serves until it is dropped, and its port.
pub(super) struct Served {
    child: Child,
    pub(super) port: u16,
    /// What else it has said at its start.
    pub(super) said: String,
}

impl Served {
    /// Runs a script of Python that prints its port and then something else, a line each.
    pub(super) fn script(script: &str) -> Self {
        let mut command = Command::new(python());
        command.args(["-c", script]);
        Self::run(command)
    }

    /// Serves the files of a folder as the standard library does.
    pub(super) fn files(folder: &Path) -> Self {
        let script = "import http.server, sys
from functools import partial
handler = partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)
print(server.server_port, '', sep='\\n', flush=True)
server.serve_forever()";
        let mut command = Command::new(python());
        command.args(["-c", script]).arg(folder).stderr(Stdio::null());
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (mut port, mut said) = (String::new(), String::new());
        lines.read_line(&mut port).unwrap();
        lines.read_line(&mut said).unwrap();
        // Nothing more is printed; the pipe must stay open all the same.
        thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        Self { child, port: port.trim().parse().unwrap(), said: said.trim().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
