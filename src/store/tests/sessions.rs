//! A session has one holder, whoever asks, and who waits is told.

use super::*;

const LEASE: u64 = 3_600_000;

fn claim<'a>(holder: &'a str, lease: u64) -> SessionClaim<'a> {
    SessionClaim { workspace: "/w", name: "s", holder, lease, dead: None, retries: 4 }
}

fn held(holder: &str, epoch: u64) -> SessionHeld<'_> {
    SessionHeld { workspace: "/w", name: "s", holder, epoch }
}

on_both! {
    async fn of_many_who_claim_at_once_one_has_it_and_the_others_see_who(home) {
        let stores = [home.open().await, home.open().await, home.open().await];
        for round in 1..=20u64 {
            let names: Vec<String> = (0..24).map(|n| format!("h{n}")).collect();
            let claims = names.iter().enumerate().map(|(n, name)| {
                let store = &stores[n % 3];
                async move { store.claim_session(claim(name, LEASE)).await.unwrap() }
            });
            let claimed = futures_util::future::join_all(claims).await;
            let won: Vec<&SessionRow> = claimed.iter().flatten().collect();
            assert_eq!(won.len(), 1, "round {round}");
            let winner = won[0].holder.as_deref().unwrap();
            let lost = claimed.iter().filter_map(|claim| claim.as_ref().err());
            assert!(lost.clone().all(|row| row.holder.as_deref() == Some(winner)));
            assert_eq!((won[0].epoch, lost.count()), (round, 23));
            assert!(stores[0].step_session(held(winner, round), SessionStep::Off).await.unwrap());
        }
    }

    async fn one_who_was_overtaken_changes_nothing(home) {
        let store = home.open().await;
        // Over as soon as the clock ticks.
        store.claim_session(claim("a", 0)).await.unwrap().unwrap();
        let row = loop {
            if let Ok(row) = store.claim_session(claim("b", LEASE)).await.unwrap() {
                break row;
            }
        };
        assert_eq!((row.epoch, row.stage.as_str(), row.was.as_str()), (2, "starting", "off"));
        let steps = [
            SessionStep::Placed("x"), SessionStep::Ready("x", 1), SessionStep::Failed("x", 1),
            SessionStep::Gone, SessionStep::Left, SessionStep::Off,
        ];
        for step in steps {
            assert!(!store.step_session(held("a", 1), step).await.unwrap(), "{step:?}");
            assert!(!store.step_session(held("b", 1), step).await.unwrap(), "{step:?}");
        }
        assert!(store.step_session(held("b", 2), SessionStep::Ready("x", 1)).await.unwrap());
        assert_eq!(store.renew_sessions("a", LEASE).await.unwrap(), []);
        let renewed = store.renew_sessions("b", 2 * LEASE).await.unwrap();
        assert_eq!((renewed.len(), renewed[0].epoch), (1, 2));
        assert!(renewed[0].lease_until > renewed[0].now + LEASE);
        assert_eq!(store.forget_sessions(0).await.unwrap(), 0);
    }

    async fn who_waits_is_told_when_a_start_is_over_whichever_process_made_it(home) {
        let (one, two) = (home.open().await, home.open().await);
        let mut changes = one.commits();
        // Its own connection is there from then on.
        changes.changed().await.unwrap();
        let row = two.claim_session(claim("b", LEASE)).await.unwrap().unwrap();
        changes.mark_unchanged();
        two.step_session(held("b", row.epoch), SessionStep::Ready("x", 1)).await.unwrap();
        changes.changed().await.unwrap();
        changes.mark_unchanged();
        two.step_session(held("b", row.epoch), SessionStep::Left).await.unwrap();
        changes.changed().await.unwrap();
    }

    async fn a_text_with_a_nul_is_kept_without_it(home) {
        let store = home.open().await;
        let row = store.claim_session(claim("a", LEASE)).await.unwrap().unwrap();
        let failed = SessionStep::Failed("it wrote \0", 1);
        assert!(store.step_session(held("a", row.epoch), failed).await.unwrap());
        let kept = store.sessions().await.unwrap();
        assert_eq!(kept[0].error.as_deref(), Some("it wrote \u{fffd}"));
        assert_eq!(store.forget_sessions(0).await.unwrap() + store.sessions().await.unwrap().len() as u64, 1);
    }
}
