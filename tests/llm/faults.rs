//! The sixteen faults of providers that a failover benchmark knows, on both wires: each ends in a
//! whole answer or in the right error, and no provider is asked more often than it should be.

use std::time::Duration;

use husk::llm::{Settings, error::Class};

use crate::{
    ask::{Came, client, fallback, hello, settings, target},
    provider::{Act, End, Provider},
    says::{WIRES, Wire},
};

/// What came of a question, and how often each of the two was asked.
struct Seen {
    came: Came,
    first: usize,
    second: usize,
}

/// Asks a provider that does these, with one that is well after it.
async fn seen(wire: Wire, acts: Vec<Act>, settings: Settings) -> Seen {
    let first = Provider::new(acts).await;
    let second = Provider::new(vec![wire.stream(&["well", " said"])]).await;
    let came = hello(&client(&fallback(wire, &first, &second), settings)).await;
    Seen { came, first: first.asked().len(), second: second.asked().len() }
}

impl Seen {
    /// The answer is whole, of this one, and what is shown is what was said.
    fn whole(&self, of: &str, words: &str) {
        let answer = self.came.answer();
        assert_eq!(
            (answer.target.as_str(), answer.reply.text().as_str(), self.came.shown.as_str()),
            (of, words, words)
        );
        // Of the one that served, and of nothing that failed before it.
        assert_eq!((answer.reply.usage.input, answer.reply.usage.output), (7, 3));
    }

    fn asked(&self, first: usize, second: usize) {
        assert_eq!((self.first, self.second), (first, second));
    }
}

pub(crate) fn short() -> Duration {
    Duration::from_millis(100)
}

#[tokio::test]
async fn it_waits_as_long_as_the_provider_asks() {
    for wire in WIRES {
        for (header, value, least) in [
            ("retry-after", "1", 1000),
            ("retry-after", "0.2", 200),
            ("retry-after-ms", "150", 150),
        ] {
            let acts = vec![wire.wait(429, header, value), wire.stream(&["then"])];
            let seen = seen(wire, acts, settings()).await;
            seen.whole("first", "then");
            seen.asked(2, 0);
            let pause = seen.came.pauses()[0];
            let least = Duration::from_millis(least);
            assert!(pause >= least && pause <= least + short() * 3, "{pause:?}");
        }
    }
}

#[tokio::test]
async fn it_does_not_wait_beyond_its_patience() {
    for wire in WIRES {
        let seen = seen(wire, vec![wire.wait(429, "retry-after", "3600")], settings()).await;
        seen.whole("second", "well said");
        seen.asked(1, 1);
    }
}

#[tokio::test]
async fn a_status_that_may_pass_is_asked_again_and_then_another() {
    for wire in WIRES {
        for status in [429, 500, 502, 503, 529] {
            let bad = wire.error(status, "x", "not now");
            let once = seen(wire, vec![bad.clone(), wire.stream(&["then"])], settings()).await;
            once.whole("first", "then");
            once.asked(2, 0);
            let for_ever = seen(wire, vec![bad], settings()).await;
            for_ever.whole("second", "well said");
            for_ever.asked(3, 1);
            assert_eq!(for_ever.came.done(), ["retry", "retry", "fallback"]);
        }
    }
}

#[tokio::test]
async fn a_reset_connection_and_a_dead_host_lead_to_another() {
    for wire in WIRES {
        let reset = seen(wire, vec![Act::Reset], settings()).await;
        reset.whole("second", "well said");
        let first = Provider::new(vec![Act::Silence]).await;
        let second = Provider::new(vec![wire.stream(&["well", " said"])]).await;
        let routes = fallback(wire, &first, &second);
        drop(first);
        let came = hello(&client(&routes, settings())).await;
        assert_eq!(came.answer().target, "second");
        assert_eq!(came.statuses[0].reason, "connect");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_no_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let closes = async {
        loop {
            drop(listener.accept().await.unwrap());
        }
    };
    let client = client(&target("it", Wire::OpenAi, &url), settings());
    let came = tokio::select! {
        came = hello(&client) => came,
        () = closes => panic!("it accepts for ever"),
    };
    assert_eq!(came.end.unwrap_err().last().unwrap().class, Class::Connect);
}

#[tokio::test]
async fn a_silent_provider_is_asked_once() {
    for wire in WIRES {
        let seen =
            seen(wire, vec![Act::Silence], Settings { headers: short(), ..settings() }).await;
        seen.whole("second", "well said");
        seen.asked(1, 1);
        assert_eq!(seen.came.done(), ["fallback"]);
    }
}

#[tokio::test]
async fn a_first_word_that_does_not_come_leads_to_another() {
    for wire in WIRES {
        let begun = wire.events(&[], (7, 3)).into_iter().take(1).collect();
        let acts = vec![wire.cut(begun, End::Stall)];
        let seen = seen(wire, acts, Settings { first_token: short(), ..settings() }).await;
        seen.whole("second", "well said");
        seen.asked(1, 1);
    }
}

/// The first three events of an answer: half of its words have come.
pub(crate) fn half(wire: Wire) -> Vec<String> {
    wire.events(&["half", " of", " it"], (7, 3)).into_iter().take(3).collect()
}

#[tokio::test]
async fn a_stream_that_is_cut_begins_anew_and_nothing_of_it_stays() {
    for wire in WIRES {
        for end in [End::Cut, End::Clean] {
            let acts = vec![wire.cut(half(wire), end), wire.stream(&["all", " of it"])];
            let seen = seen(wire, acts, settings()).await;
            seen.whole("first", "all of it");
            seen.asked(2, 0);
            assert_eq!((seen.came.resets, seen.came.done()), (1, vec!["retry"]));
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_twice_comes_in_one_piece_with_the_same_body_but_for_that() {
    for wire in WIRES {
        let cut = wire.cut(half(wire), End::Cut);
        let first = Provider::new(vec![cut.clone(), cut, wire.whole("all of it")]).await;
        let second = Provider::new(vec![wire.stream(&["no"])]).await;
        let came = hello(&client(&fallback(wire, &first, &second), settings())).await;
        assert_eq!(
            (came.answer().reply.text().as_str(), came.shown.as_str()),
            ("all of it", "all of it")
        );
        assert_eq!((came.resets, came.done()), (2, vec!["retry", "degraded"]));
        let asked = first.asked();
        let streams: Vec<_> = asked.iter().map(crate::provider::Asked::streams).collect();
        assert_eq!(streams, [true, true, false]);
        assert_eq!(asked[0].body, asked[1].body);
        assert_eq!(asked[0].body["messages"], asked[2].body["messages"]);
        assert!(second.asked().is_empty());
    }
}

#[tokio::test]
async fn a_stream_that_never_holds_leads_to_another_at_last() {
    for wire in WIRES {
        let seen = seen(wire, vec![wire.cut(half(wire), End::Cut)], settings()).await;
        seen.whole("second", "well said");
        seen.asked(3, 1);
        assert_eq!(seen.came.done(), ["retry", "degraded", "fallback"]);
    }
}

#[tokio::test]
async fn a_stream_that_stalls_begins_anew() {
    for wire in WIRES {
        let acts = vec![wire.cut(half(wire), End::Stall), wire.stream(&["all"])];
        let seen = seen(wire, acts, Settings { idle: short(), ..settings() }).await;
        seen.whole("first", "all");
        assert_eq!((seen.came.resets, seen.came.statuses[0].reason), (1, "timeout"));
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_a_broken_stream() {
    for wire in WIRES {
        let mut events = wire.events(&["half", " of", " it"], (7, 3));
        events[3] = "data: {\"type\": \"content_block_de\n\n".to_owned();
        let acts = vec![wire.cut(events, End::Clean), wire.stream(&["all"])];
        seen(wire, acts, settings()).await.whole("first", "all");
    }
}

#[tokio::test]
async fn an_answer_with_its_reason_and_without_the_end_mark_is_whole_where_that_is_usual() {
    let unmarked = |wire: Wire| {
        let mut events = wire.events(&["all"], (7, 3));
        events.pop();
        events
    };
    for end in [End::Clean, End::Cut, End::Stall] {
        let acts = vec![Wire::OpenAi.cut(unmarked(Wire::OpenAi), end)];
        let openai = seen(Wire::OpenAi, acts, settings()).await;
        openai.whole("first", "all");
        openai.asked(1, 0);
    }
    let acts = vec![
        Wire::Anthropic.cut(unmarked(Wire::Anthropic), End::Clean),
        Wire::Anthropic.stream(&["anew"]),
    ];
    seen(Wire::Anthropic, acts, settings()).await.whole("first", "anew");
}

#[tokio::test]
async fn a_conversation_that_is_too_long_goes_to_another_at_once() {
    for wire in WIRES {
        let acts = vec![wire.error(400, "context_length_exceeded", "prompt is too long: 9 tokens")];
        let seen = seen(wire, acts, settings()).await;
        seen.whole("second", "well said");
        seen.asked(1, 1);
    }
}

#[tokio::test]
async fn what_a_filter_refuses_is_told_and_asked_of_nobody_else() {
    for wire in WIRES {
        for status in [400, 403] {
            let acts =
                vec![wire.error(status, "content_filter", "by our content management policy")];
            let seen = seen(wire, acts, settings()).await;
            seen.asked(1, 0);
            let error = seen.came.end.unwrap_err();
            let failure = error.last().unwrap();
            assert_eq!((failure.class, failure.status), (Class::ContentFilter, status));
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_after_a_call_calls_nothing() {
    for wire in WIRES {
        let call = wire.call("{\"code\": \"1\"}");
        let half = call.iter().take(3).cloned().collect();
        let acts = vec![wire.cut(half, End::Cut), wire.stream(&["no call"])];
        let seen = seen(wire, acts, settings()).await;
        seen.whole("first", "no call");
        assert_eq!((seen.came.resets, seen.came.calls), (1, 0));
        let calls = Provider::new(vec![wire.cut(call, End::Clean)]).await;
        let came = hello(&client(&target("it", wire, &calls.url), settings())).await;
        assert_eq!(came.calls, 1);
        assert!(came.answer().reply.broken.is_empty());
    }
}

#[tokio::test]
async fn a_model_that_writes_long_arguments_may_be_silent_meanwhile() {
    for wire in WIRES {
        let events = wire.call("{\"code\": \"1\"}");
        let last = events.len() - 3;
        let acts = vec![Act::Pausing { events, last, pause: short() * 3 }];
        let settings = Settings { idle: short(), last_factor: 6000, ..settings() };
        let seen = seen(wire, acts, settings).await;
        seen.asked(1, 0);
        assert_eq!((seen.came.answer().target.as_str(), seen.came.calls), ("first", 1));
    }
}

#[tokio::test]
async fn arguments_that_do_not_parse_are_told_with_the_whole_answer() {
    for wire in WIRES {
        let calls = Provider::new(vec![wire.cut(wire.call("{\"code\": \""), End::Clean)]).await;
        let came = hello(&client(&target("it", wire, &calls.url), settings())).await;
        let broken = &came.answer().reply.broken;
        assert_eq!((broken.len(), broken[0].id.as_str()), (1, "call"));
    }
}

#[tokio::test]
async fn an_answer_in_one_piece_to_a_question_for_a_stream_is_taken() {
    for wire in WIRES {
        let seen = seen(wire, vec![wire.whole("plain")], settings()).await;
        seen.whole("first", "plain");
        seen.asked(1, 0);
    }
}
