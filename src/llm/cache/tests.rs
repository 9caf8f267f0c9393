//! The plan of marks, and what is noticed of broken beginnings.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Broken, Mode, Prefix, Rules, marked,
    plan::{Place, tokens},
    stripped,
};
use crate::llm::{
    message::{Block, Mark, Message, Role, Ttl},
    reply::Usage,
    request::{Request, Tool},
};

/// A text of about so many tokens.
fn long(tokens: usize) -> String {
    "word ".repeat(tokens)
}

fn result(id: usize) -> Block {
    Block::ToolResult {
        tool_use_id: id.to_string(),
        content: vec![Block::text(long(300))],
        is_error: false,
        cache_control: None,
    }
}

fn user(content: Vec<Block>) -> Message {
    Message { role: Role::User, content }
}

fn model(content: Vec<Block>) -> Message {
    Message { role: Role::Assistant, content }
}

/// Two tools and a system prompt that are long enough, and these messages.
fn conversation(messages: Vec<Message>) -> Request {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: long(1500),
        input_schema: json!({"type": "object"}),
        cache_control: None,
    };
    Request {
        tools: vec![tool("a"), tool("b")],
        system: vec![Block::text(long(1500)), Block::text("")],
        messages,
        ..Request::ask("")
    }
}

/// All marks in the order in which a provider reads them.
fn marks(request: &Request) -> Vec<(Place, Ttl)> {
    let tools = request.tools.iter().enumerate();
    let mut marks: Vec<_> =
        tools.filter_map(|(at, tool)| Some((Place::Tool(at), tool.cache_control?))).collect();
    let system = request.system.iter().enumerate();
    marks.extend(system.filter_map(|(at, block)| Some((Place::System(at), block.mark()?))));
    for (message, it) in request.messages.iter().enumerate() {
        let blocks = it.content.iter().enumerate();
        marks.extend(
            blocks.filter_map(|(at, block)| Some((Place::Block(message, at), block.mark()?))),
        );
    }
    marks.into_iter().map(|(place, mark)| (place, mark.ttl())).collect()
}

fn places(request: &Request, rules: &Rules) -> Vec<Place> {
    marks(&marked(request, rules)).into_iter().map(|(place, _)| place).collect()
}

#[test]
fn tools_system_prompt_the_turn_before_and_the_newest_message_are_marked() {
    let asked = vec![user(vec![Block::text("hi")])];
    let rules = Rules::default();
    let beginning = [Place::Tool(1), Place::System(0)];
    let first = places(&conversation(asked.clone()), &rules);
    assert_eq!(first, [&beginning[..], &[Place::Block(0, 0)]].concat());
    let mut longer = asked;
    longer.push(model(vec![Block::text("calls")]));
    // More results than a provider looks back over.
    longer.push(user((0..25).map(result).collect()));
    let second = places(&conversation(longer), &rules);
    assert_eq!(second, [&beginning[..], &[Place::Block(0, 0), Place::Block(2, 24)]].concat());
}

#[test]
fn what_one_request_marks_as_newest_the_next_one_marks_again() {
    let mut messages = vec![user(vec![Block::text("hi")])];
    let rules = Rules::default();
    for turn in 0..5 {
        let newest = *places(&conversation(messages.clone()), &rules).last().unwrap();
        messages.push(model(vec![Block::text("calls")]));
        messages.push(user((0..=turn * 12).map(result).collect()));
        assert!(places(&conversation(messages.clone()), &rules).contains(&newest), "{turn}");
    }
}

#[test]
fn a_large_document_is_kept_instead_of_the_tools_alone() {
    let mut messages = vec![user(vec![Block::text(long(12_000)), Block::text("what of it?")])];
    for turn in 0..4 {
        messages.push(model(vec![Block::text("this")]));
        messages.push(user(vec![result(turn)]));
    }
    let places = places(&conversation(messages), &Rules::default());
    let expected = [Place::System(0), Place::Block(0, 0), Place::Block(6, 0), Place::Block(8, 0)];
    assert_eq!(places, expected);
}

#[test]
fn an_hour_comes_before_five_minutes() {
    let rules = Rules { fixed: Ttl::OneHour, ..Rules::default() };
    let messages = vec![
        user(vec![Block::text("a")]),
        model(vec![Block::text("b")]),
        user(vec![Block::text("c")]),
    ];
    let ttls: Vec<_> =
        marks(&marked(&conversation(messages), &rules)).into_iter().map(|(_, ttl)| ttl).collect();
    assert_eq!(ttls, [Ttl::OneHour, Ttl::OneHour, Ttl::FiveMinutes, Ttl::FiveMinutes]);
}

#[test]
fn what_no_provider_would_keep_is_not_marked() {
    assert_eq!(places(&Request::ask("hi"), &Rules::default()), []);
    let mut request = Request::ask(&long(1200));
    assert_eq!(places(&request, &Rules::default()), [Place::Block(0, 0)]);
    request.params.model = Some("claude-opus-4-5".to_owned());
    assert_eq!(places(&request, &Rules::default()), []);
}

#[test]
fn thoughts_and_empty_texts_are_never_marked() {
    let thought = Block::Thinking { thinking: long(2000), signature: "s".to_owned() };
    let messages = vec![
        user(vec![Block::text("hi")]),
        model(vec![Block::text("yes"), thought, Block::text("")]),
    ];
    let request = Request { system: vec![Block::text("")], ..conversation(messages) };
    let expected = [Place::Tool(1), Place::Block(1, 0)];
    assert_eq!(places(&request, &Rules::default()), expected);
}

#[test]
fn the_seeds_selection_is_by_kind_and_size() {
    let seed = Rules { mode: Mode::Seed, ..Rules::default() };
    let messages = vec![
        user(vec![Block::text(long(9000))]),
        model(vec![Block::text("calls")]),
        user(vec![result(1), result(2)]),
        model(vec![Block::text("calls")]),
        user(vec![result(3)]),
    ];
    let expected = [Place::Tool(1), Place::System(0), Place::Block(0, 0), Place::Block(4, 0)];
    assert_eq!(places(&conversation(messages.clone()), &seed), expected);
    let few = Rules { large: u64::MAX, ..seed };
    let expected = [Place::Tool(1), Place::System(0), Place::Block(2, 1), Place::Block(4, 0)];
    assert_eq!(places(&conversation(messages), &few), expected);
}

#[test]
fn a_broken_beginning_is_told_with_its_cause() {
    let start = conversation(vec![user(vec![Block::text("a")])]);
    let check = |change: &dyn Fn(&mut Request), expected: Option<Broken>| {
        let mut prefix = Prefix::default();
        assert_eq!(prefix.see(&marked(&start, &Rules::default())), None);
        let mut next = start.clone();
        next.messages.push(model(vec![Block::text("b")]));
        change(&mut next);
        assert_eq!(prefix.see(&next), expected);
        assert_eq!(prefix.see(&next), None);
    };
    check(&|_| {}, None);
    check(&|it| it.params.model = Some("m".to_owned()), Some(Broken::Model));
    check(&|it| it.tools[0].description.clear(), Some(Broken::Tools("a".to_owned())));
    check(&|it| it.tools.truncate(1), Some(Broken::Tools("b".to_owned())));
    check(&|it| it.tools.reverse(), Some(Broken::Tools("their order".to_owned())));
    check(&|it| it.system.push(Block::text("10:31")), Some(Broken::System));
    check(&|it| it.messages[0].content.clear(), Some(Broken::Message(1)));
}

#[test]
fn that_nothing_is_kept_is_told_once() {
    let mut prefix = Prefix::default();
    let nothing = Usage::default();
    let read = Usage { cache_read: 5, ..Usage::default() };
    let told: Vec<_> =
        [nothing, read, nothing, nothing, nothing].iter().map(|it| prefix.settle(it)).collect();
    assert_eq!(told, [None, None, None, Some(Broken::Nothing), None]);
}

fn any_block() -> impl Strategy<Value = Block> {
    let mark = proptest::option::of(Just(Mark::new(Ttl::OneHour)));
    let text = (0..3usize, mark).prop_map(|(size, cache_control)| {
        let size = [0, 20, 11_000][size];
        Block::Text { text: long(size), cache_control }
    });
    prop_oneof![
        4 => text,
        2 => (0..9usize).prop_map(result),
        1 => Just(Block::Thinking { thinking: "hm".to_owned(), signature: "s".to_owned() }),
        1 => Just(Block::RedactedThinking { data: "x".to_owned() }),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let content = || proptest::collection::vec(any_block(), 0..6);
    let messages = proptest::collection::vec((any::<bool>(), content()), 0..12);
    (messages, content(), 0..3usize).prop_map(|(messages, system, tools)| {
        let messages = messages.into_iter();
        let messages =
            messages.map(|(of_user, content)| if of_user { user(content) } else { model(content) });
        let mut request = conversation(messages.collect());
        request.tools.truncate(tools);
        Request { system, ..request }
    })
}

fn form(request: &Request) -> Value {
    json!([request.tools, request.system, request.messages])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn never_more_than_four_marks_never_out_of_order_and_nothing_else_changed(
        request in any_request(), seed: bool, hour: bool,
    ) {
        let mode = if seed { Mode::Seed } else { Mode::Progressive };
        let fixed = if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
        let before = form(&request);
        let planned = marked(&request, &Rules { mode, fixed, ..Rules::default() });
        let marks = marks(&planned);
        prop_assert!(marks.len() <= 4, "{marks:?}");
        prop_assert!(marks.is_sorted_by(|(_, one), (_, other)| one >= other), "{marks:?}");
        prop_assert_eq!(form(&stripped(&planned)), form(&stripped(&request)));
        prop_assert_eq!(form(&request), before);
        for (place, _) in marks {
            if let Place::Block(message, at) = place {
                prop_assert!(tokens(&planned.messages[message].content[at]) > 0);
            }
        }
    }
}
