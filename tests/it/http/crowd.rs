//! Many clients at once.

use crate::support::web::Served;

/// Clients.
const CLIENTS: usize = 200;
/// Kernels that they share.
const KERNELS: usize = 20;

#[test]
fn two_hundred_clients_with_twenty_kernels_each_get_their_own_answer() {
    let served =
        Served::start(&["--set", "cells.max_sessions=20", "--set", "cells.max_queued=300"]);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let served = &served;
                scope.spawn(move || {
                    let mut client = served.client(None);
                    let session = format!("k{}", n % KERNELS);
                    let told = client.run(&session, &format!("print({n} * 1000 + 7)"));
                    assert_eq!(told, format!("{}\n", n * 1000 + 7), "client {n}");
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let status = served.client(None).call("sandbox_status", serde_json::json!({}));
    let sessions = status["structuredContent"]["sessions"].as_array().unwrap().len();
    assert_eq!(sessions, KERNELS, "{status}");
}

#[test]
fn kernels_of_all_users_have_one_bound() {
    let data = tempfile::tempdir().unwrap();
    let tokens = ["alice", "bob"].map(|user| Served::token(&data, user, &[]));
    let served = Served::start_in(data, &["--set", "http.max_kernels=1"]);
    let [mut a, mut b] = tokens.each_ref().map(|token| served.client(Some(token)));
    assert_eq!(a.run("main", "print(1)"), "1\n");
    let call = serde_json::json!({"code": "print(2)"});
    let refused = b.call("notebook_run_cell", call.clone());
    assert_eq!(refused["structuredContent"]["denied"]["code"], "too_many_kernels", "{refused}");
    // Not so often that it counts as a fault.
    for _ in 0..4 {
        let refused = b.call("notebook_run_cell", call.clone());
        assert_eq!(refused["structuredContent"]["denied"]["code"], "too_many_kernels", "{refused}");
    }
}
