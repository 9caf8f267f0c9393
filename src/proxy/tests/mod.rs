//! The whole proxy: real connections, real hosts on this machine, names looked up by the test.

mod site;

use std::sync::atomic::Ordering;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use super::*;
use site::{LOCAL, Site, head, read_all, say};

const BOTH: [&str; 2] = ["site.test:PORT", "127.0.0.1:PORT"];

#[tokio::test]
async fn an_answer_over_plain_http_comes_back() {
    let site = Site::open(&BOTH).await;
    let host = async {
        let (mut stream, _) = site.listener.accept().await.unwrap();
        let asked = head(&mut stream).await;
        assert!(asked.starts_with("POST /path?a=b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains(&format!("host: site.test:{}\r\n", site.port)), "{asked}");
        assert!(!asked.to_lowercase().contains("proxy-"), "{asked}");
        let mut body = [0; 5];
        stream.read_exact(&mut body).await.unwrap();
        assert_eq!(&body, b"hello");
        let answer = "HTTP/1.1 201 Created\r\nconnection: x-own\r\nx-own: 1\r\nx-kept: 2\r\n\r\nthe end is the end";
        say(&mut stream, answer).await;
    };
    let request = "POST http://site.test:PORT/path?a=b HTTP/1.1\r\nHost: site.test:PORT\r\n\
                   Proxy-Connection: keep-alive\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let (answer, ()) = tokio::join!(site.exchange(request), host);
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("x-kept: 2") && !answer.contains("x-own"), "{answer}");
    assert!(answer.contains("the end is the end"), "{answer}");
    assert_eq!(site.told(), [""; 0]);
}

#[tokio::test]
async fn a_connection_carries_anything_both_ways() {
    let site = Site::open(&BOTH).await;
    let host = async {
        let (mut stream, _) = site.listener.accept().await.unwrap();
        // This one speaks first.
        say(&mut stream, "welcome\n").await;
        let mut word = [0; 6];
        stream.read_exact(&mut word).await.unwrap();
        say(&mut stream, "and bye").await;
        word
    };
    let kernel = async {
        let (mut kernel, _task) = site.kernel(SILENCE);
        say(&mut kernel, &format!("CONNECT site.test:{} HTTP/1.0\r\n\r\n", site.port)).await;
        let answer = head(&mut kernel).await;
        assert!(
            answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"),
            "{answer}"
        );
        let mut word = [0; 8];
        kernel.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"welcome\n");
        say(&mut kernel, "hello!").await;
        read_all(&mut kernel).await
    };
    let (heard, said) = tokio::join!(kernel, host);
    assert_eq!((heard.as_str(), &said), ("and bye", b"hello!"));
}

#[tokio::test]
async fn what_may_not_be_reached_is_refused_with_what_would_allow_it_and_is_remembered() {
    let site = Site::open(&["site.test:PORT"]).await;
    let check = async |request: &str, status: &str, line: &str| {
        let answer =
            site.exchange(&format!("{request} HTTP/1.1\r\nConnection: close\r\n\r\n")).await;
        let line = line.replace("PORT", &site.port.to_string());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} {line}\r\n")),
            "{request}: {answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{line}\n")), "{request}: {answer}");
    };
    let other = "blocked: other.test:443; allow with \"other.test\" in sandbox.network_hosts";
    check("CONNECT other.test:443", "403", other).await;
    let plain = "blocked: other.test:80; allow with \"other.test\" in sandbox.network_hosts";
    check("GET http://other.test/", "403", plain).await;
    let private = "blocked: site.test:PORT, whose address 127.0.0.1 is this machine's own; allow \
                   with \"127.0.0.1:PORT\" in sandbox.network_hosts";
    check("GET http://site.test:PORT/", "403", private).await;
    let literal = "blocked: 127.0.0.1:PORT, which is this machine's own; allow with \
                   \"127.0.0.1:PORT\" in sandbox.network_hosts";
    check("GET http://0x7f.1:PORT/", "403", literal).await;
    let misread = "the request's Host is another than the one it asks for";
    check("GET http://site.test:PORT/ HTTP/1.1\r\nHost: other.test\r\nX:", "400", misread).await;
    site.is_untouched().await;
    let told = site.told();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(told[0], other);
}

#[tokio::test]
async fn no_metadata_service_is_reached_by_a_name_and_nobody_is_led_to_it() {
    let site = Site::open(&["*"]).await;
    let answer = site.exchange("GET http://metadata.test/ HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.contains("403 blocked: metadata.test:80, whose address 169.254.169.254 is"),
        "{answer}"
    );
    assert!(!answer.contains("allow with"), "{answer}");
}

#[tokio::test]
async fn the_connection_goes_to_the_address_that_was_judged() {
    let site = Site::open(&["rebinding.test:PORT", "127.0.0.1:PORT"]).await;
    let host = async {
        let (mut stream, _) = site.listener.accept().await.unwrap();
        head(&mut stream).await;
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    };
    let request = "GET http://rebinding.test:PORT/ HTTP/1.0\r\n\r\n";
    let (answer, ()) = tokio::join!(site.exchange(request), host);
    assert!(answer.ends_with("ok"), "{answer}");
    assert_eq!(site.looked_up.load(Ordering::Relaxed), 1);
    // By now the name leads elsewhere, which is judged anew.
    let answer = site.exchange(request).await;
    assert!(answer.contains("403 blocked") && answer.contains("127.0.0.2"), "{answer}");
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_told_with_the_cause_and_is_not_blocked() {
    let site = Site::open(&["unknown.test", "127.0.0.1:1"]).await;
    let answer = site.exchange("GET http://unknown.test/ HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("502 husk cannot look up unknown.test: nobody knows it"), "{answer}");
    let answer = site.exchange("CONNECT 127.0.0.1:1 HTTP/1.0\r\n\r\n").await;
    assert!(answer.contains("502 husk cannot connect to 127.0.0.1:1: "), "{answer}");
    assert_eq!(site.told(), [""; 0]);
}

#[tokio::test]
async fn no_request_is_hidden_in_another() {
    let site = Site::open(&BOTH).await;
    let host = async {
        let mut heard = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = site.listener.accept().await.unwrap();
            let asked = head(&mut stream).await;
            let body = if asked.contains("chunked") { 14 } else { 0 };
            let mut bytes = vec![0; body];
            stream.read_exact(&mut bytes).await.unwrap();
            say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            // Nothing more comes on it.
            assert_eq!(read_all(&mut stream).await, "", "{asked}");
            heard.push(asked);
        }
        heard
    };
    // Two lengths: who heeds the first takes what is behind for a request of its own.
    let twofold = "POST http://site.test:PORT/a HTTP/1.1\r\nContent-Length: 40\r\n\
                   Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n";
    let next = "GET http://site.test:PORT/b HTTP/1.0\r\n\r\n";
    let both = async { (site.exchange(twofold).await, site.exchange(next).await) };
    let (answers, heard) = tokio::join!(both, host);
    assert!(answers.0.contains("200 OK") && answers.1.contains("200 OK"), "{answers:?}");
    assert!(heard[0].starts_with("POST /a") && !heard[0].contains("content-length"), "{heard:?}");
    assert!(heard[1].starts_with("GET /b"), "{heard:?}");
    for wrong in [
        "POST http://site.test:PORT/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST http://site.test:PORT/ HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
        "POST http://site.test:PORT/ HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "GET http://site.test:PORT/ HTTP/1.1\r\nHost : site.test:PORT\r\n\r\n",
        "GET http://site.test:PORT/\0 HTTP/1.1\r\n\r\n",
        "GET http://site.test:PORT/ HTTP/2.0\r\n\r\n",
    ] {
        let answer = site.exchange(wrong).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{wrong}: {answer}");
    }
    site.is_untouched().await;
}

#[tokio::test]
async fn each_request_of_a_connection_is_judged_by_itself() {
    let site = Site::open(&BOTH).await;
    let (mut kernel, _task) = site.kernel(SILENCE);
    let host = async {
        let (mut stream, _) = site.listener.accept().await.unwrap();
        assert!(head(&mut stream).await.starts_with("HEAD /a HTTP/1.1\r\n"));
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
    };
    let asking = async {
        let port = site.port;
        say(&mut kernel, &format!("HEAD http://site.test:{port}/a HTTP/1.1\r\n\r\n")).await;
        let first = head(&mut kernel).await;
        say(&mut kernel, "GET http://other.test/b HTTP/1.1\r\nConnection: close\r\n\r\n").await;
        (first, read_all(&mut kernel).await)
    };
    let ((first, second), ()) = tokio::join!(asking, host);
    assert!(first.starts_with("HTTP/1.1 200") && first.contains("content-length: 1000"), "{first}");
    assert!(second.starts_with("HTTP/1.1 403 blocked: other.test:80;"), "{second}");
    site.is_untouched().await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let site = Site::open(&BOTH).await;
    let long = "x".repeat(17_000);
    let (mut kernel, _task) = site.kernel(SILENCE);
    // Who read it would know no such host.
    let request = format!("GET http://other.test/ HTTP/1.1\r\nX: {long}\r\n\r\n");
    // The proxy does not read to the end.
    let _ = kernel.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 12];
    kernel.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 431");
    let many = "X: y\r\n".repeat(200);
    let request = format!("GET http://other.test/ HTTP/1.1\r\nConnection: close\r\n{many}\r\n");
    let answer = site.exchange(&request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    site.is_untouched().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_end_and_a_connection_that_stands_still_are_ended() {
    let site = Site::open(&BOTH).await;
    let begun = Instant::now();
    let (mut kernel, _task) = site.kernel(SILENCE);
    say(&mut kernel, "GET http://site.test/ HTTP/1.1\r\nX: ").await;
    // Byte after byte: each of them comes, and the whole does not.
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if kernel.write_all(b"x").await.is_err() {
                return;
            }
        }
    };
    dripping.await;
    let lasted = begun.elapsed();
    assert!(lasted >= Duration::from_secs(10) && lasted < Duration::from_secs(13), "{lasted:?}");

    let (mut kernel, mut task) = site.kernel(SILENCE);
    say(&mut kernel, &format!("CONNECT site.test:{} HTTP/1.1\r\n\r\n", site.port)).await;
    let (mut stream, _) = site.listener.accept().await.unwrap();
    assert!(head(&mut kernel).await.contains("200"));
    let begun = Instant::now();
    let ended = tokio::time::timeout(SILENCE * 3, read_all(&mut stream)).await;
    assert_eq!(ended.as_deref(), Ok(""));
    task.join_next().await.unwrap().unwrap();
    assert!(begun.elapsed() >= SILENCE && begun.elapsed() <= SILENCE * 2, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn when_a_kernel_vanishes_its_hosts_are_let_go() {
    let site = Site::open(&BOTH).await;
    for request in ["CONNECT site.test:PORT", "GET http://site.test:PORT/"] {
        let (mut kernel, _task) = site.kernel(SILENCE);
        let request = request.replace("PORT", &site.port.to_string());
        say(&mut kernel, &format!("{request} HTTP/1.1\r\n\r\n")).await;
        let (mut stream, _) = site.listener.accept().await.unwrap();
        if request.starts_with("CONNECT") {
            head(&mut kernel).await;
        } else {
            head(&mut stream).await;
        }
        drop(kernel);
        assert_eq!(read_all(&mut stream).await, "", "{request}");
    }
}

#[tokio::test]
async fn tls_that_means_another_host_is_cut_and_told() {
    let site = Site::open(&BOTH).await;
    let greeted = async |name: &str| {
        let (mut kernel, _task) = site.kernel(SILENCE);
        say(&mut kernel, &format!("CONNECT site.test:{} HTTP/1.1\r\n\r\n", site.port)).await;
        let (mut stream, _) = site.listener.accept().await.unwrap();
        head(&mut kernel).await;
        let hello = hello::tests::hello(&[name]);
        // In two parts, as it may come.
        kernel.write_all(&hello[..20]).await.unwrap();
        kernel.write_all(&hello[20..]).await.unwrap();
        kernel.shutdown().await.unwrap();
        let mut passed = Vec::new();
        stream.read_to_end(&mut passed).await.unwrap();
        drop(stream);
        let mut answer = Vec::new();
        kernel.read_to_end(&mut answer).await.unwrap();
        (passed == hello, answer)
    };
    assert_eq!(greeted("SITE.test").await, (true, Vec::new()));
    assert_eq!(site.told(), [""; 0]);
    assert_eq!(greeted("other.test").await, (false, vec![21, 3, 1, 0, 2, 2, 112]));
    let told = site.told();
    let expected = format!(
        "blocked: other.test:{}, asked for inside a connection to site.test; connect to it by its name",
        site.port
    );
    assert_eq!(told, [expected]);
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_for_their_turn() {
    let listener = std::net::TcpListener::bind((LOCAL, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = Proxy::serve(listener, Policy::Nothing("none")).unwrap();
    let mut idle = Vec::new();
    for _ in 0..REFUSALS {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It is taken once it is answered.
        say(&mut stream, "GET http://a.test/ HTTP/1.1\r\n\r\n").await;
        assert!(head(&mut stream).await.contains("403"));
        idle.push(stream);
    }
    let mut next = TcpStream::connect(address).await.unwrap();
    say(&mut next, "GET http://b.test/ HTTP/1.0\r\n\r\n").await;
    let early = tokio::time::timeout(Duration::from_millis(50), next.read_u8()).await;
    assert!(early.is_err(), "it was not its turn");
    drop(idle.pop());
    assert!(read_all(&mut next).await.contains("403 blocked: b.test:80"));
    assert_eq!(proxy.record().count(), REFUSALS as u64 + 1);
    // Dropping it ends all of them.
    drop(proxy);
    for mut stream in idle {
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    assert!(TcpStream::connect(address).await.is_err());
}
