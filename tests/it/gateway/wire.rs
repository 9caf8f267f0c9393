//! The connection to a gateway: cut and made anew, and to gateways that do not know the subprotocol.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
};

use super::server::{Gateway, Kind};

/// What lies between husk and its gateway, and can be cut.
struct Way {
    port: u16,
    state: Arc<Mutex<State>>,
    /// Told of each connection that is refused.
    refused: mpsc::Receiver<()>,
}

#[derive(Default)]
struct State {
    cut: bool,
    open: Vec<TcpStream>,
}

impl Way {
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<State>>::default();
        let (tell, refused) = mpsc::channel();
        let shared = Arc::clone(&state);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap();
                if state.cut {
                    drop(near);
                    let _ = tell.send(());
                    continue;
                }
                let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
                state.open.extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                drop(state);
                pass(near.try_clone().unwrap(), far.try_clone().unwrap());
                pass(far, near);
            }
        });
        Self { port: own, state, refused }
    }

    /// Cuts all connections; new ones are refused.
    fn cut(&self) {
        let mut state = self.state.lock().unwrap();
        state.cut = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.state.lock().unwrap().cut = false;
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.flush();
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_connection_that_is_cut_is_made_anew_and_nothing_is_lost() {
    let gateway = Gateway::start(Kind::JupyterServer);
    let way = Way::to(gateway.port);
    let url = format!("http://127.0.0.1:{}", way.port);
    let mut host = gateway.launch(None, &[("HUSK_GATEWAY_URL", &url)]);
    host.initialize("2025-11-25");
    let folder = tempfile::tempdir().unwrap();
    let [cut, printed, ends] = ["cut", "printed", "ends"].map(|name| folder.path().join(name));
    for path in [&cut, &printed, &ends] {
        pipe(path);
    }
    // The cell goes on when the connection is cut, and says so when it has printed.
    let running = host.begin_cell(&format!(
        "open({cut:?}).read()\nfor n in range(100): print('line', n)\nprint('the end', flush=True)\n\
         open({printed:?}, 'w').close()\nopen({ends:?}).read()\nkept = 'kept'"
    ));
    way.cut();
    // Until the server has noticed, what the kernel says goes into the connection that is no more.
    gateway.says(|line| line.contains("Starting buffering"));
    drop(std::fs::File::options().write(true).open(&cut).unwrap());
    // Opening it waits for the cell.
    drop(std::fs::File::open(&printed).unwrap());
    way.refused.recv().unwrap();
    way.mend();
    gateway.says(|line| line.contains("Restoring connection"));
    drop(std::fs::File::options().write(true).open(&ends).unwrap());
    let answer = host.result(running);
    assert_eq!(answer.status(), "ok", "{answer:?}");
    let text = answer.text();
    assert!(text.contains("line 0\n") && text.contains("line 99\nthe end"), "{text}");
    assert!(text.contains("the connection to the gateway broke meanwhile"), "{text}");
    assert_eq!(host.ok("kept"), "'kept'");
    // Between cells it is made anew without a word.
    way.cut();
    way.refused.recv().unwrap();
    way.mend();
    gateway.says(|line| line.contains("Restoring connection"));
    assert!(host.ok("6 * 7").starts_with("42"));
    assert_eq!(host.ok("7 * 7"), "49");
}

/// Makes a named pipe, whose opening waits for the other side.
fn pipe(path: &std::path::Path) {
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_gateway_that_does_not_know_the_subprotocol_is_spoken_to_in_json() {
    let options = ["--ZMQChannelsWebsocketConnection.kernel_ws_protocol="];
    let gateway = Gateway::start_with(Kind::JupyterServer, &options);
    let mut host = gateway.host();
    assert_eq!(host.ok("print('é 子'); 6 * 7"), "é 子\n42");
    let code = "import matplotlib.pyplot as plt; plt.plot([1]); plt.show()";
    assert_eq!(host.cell(code).blocks("image").len(), 1);
}
