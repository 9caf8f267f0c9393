//! What a cell asks the user, as a host of either era gets it and answers it.

use serde_json::{Value, json};

use super::host::{Answer, Host};

/// The newest revision with a handshake: the server asks by a request of its own.
pub(crate) const HANDSHAKE: &str = "2025-11-25";
/// The first revision without: the server asks by a call's result, and the host calls again.
pub(crate) const STATELESS: &str = super::host::STATELESS;
/// Both ways of asking.
pub(crate) const ERAS: [&str; 2] = [HANDSHAKE, STATELESS];

/// A host that can ask its user.
pub(crate) fn asking_host(version: &str) -> Host {
    Host::start_as(version, &json!({ "elicitation": {} }), &[])
}

/// A call whose cell asks something.
pub(crate) struct Asked {
    call: u64,
    tool: String,
    arguments: Value,
    /// The server's request, or the call's result.
    pub(crate) message: Value,
}

/// Calls a tool that must ask.
pub(crate) fn asks(host: &mut Host, tool: &str, arguments: Value) -> Asked {
    let call = host.begin(tool, arguments.clone());
    asked(host, call, tool, arguments)
}

/// Runs a cell that must ask.
pub(crate) fn cell_asks(host: &mut Host, code: &str) -> Asked {
    asks(host, "notebook_run_cell", json!({ "code": code }))
}

/// The question of the call `call`. Where several calls ask at once, any request may be meant.
pub(crate) fn asked(host: &mut Host, call: u64, tool: &str, arguments: Value) -> Asked {
    let message = question_or_answer(host, call);
    let asks = message["method"] == "elicitation/create"
        || message["result"]["resultType"] == "input_required";
    assert!(asks, "it does not ask: {message}");
    Asked { call, tool: tool.to_owned(), arguments, message }
}

/// The server's next request, or what the call `call` is answered.
pub(crate) fn question_or_answer(host: &mut Host, call: u64) -> Value {
    host.wait(|message| {
        message["method"] == "elicitation/create"
            || (message["id"] == call && message["method"].is_null())
    })
}

impl Asked {
    /// The name of the question in the call's result, and the elicitation.
    fn named(&self) -> (String, &Value) {
        let Some(requests) = self.message["result"]["inputRequests"].as_object() else {
            return (String::new(), &self.message["params"]);
        };
        assert_eq!(requests.len(), 1, "{requests:?}");
        let (name, request) = requests.iter().next().unwrap();
        assert_eq!(request["method"], "elicitation/create");
        (name.clone(), &request["params"])
    }

    /// What the user is shown.
    pub(crate) fn text(&self) -> &str {
        self.named().1["message"].as_str().unwrap()
    }

    /// The form of the question.
    pub(crate) fn form(&self) -> &Value {
        self.named().1
    }

    /// What the host must bring back, in the stateless era.
    pub(crate) fn state(&self) -> &Value {
        &self.message["result"]["requestState"]
    }

    /// Sends what the user did; the call that goes on.
    pub(crate) fn answered(&self, host: &mut Host, result: Value) -> u64 {
        if self.message["method"] == "elicitation/create" {
            host.reply(&self.message, &result);
            return self.call;
        }
        let (name, _) = self.named();
        self.again(host, json!({ name: result }), self.state())
    }

    /// The call again, with these responses and this state.
    pub(crate) fn again(&self, host: &mut Host, responses: Value, state: &Value) -> u64 {
        let params = json!({
            "name": self.tool, "arguments": self.arguments,
            "inputResponses": responses, "requestState": state,
        });
        host.send("tools/call", params)
    }

    /// The user answers; what the call says in the end.
    pub(crate) fn ends_with(&self, host: &mut Host, text: &str) -> Answer {
        let call = self.answered(host, accept(text));
        host.result(call)
    }

    /// The user answers, and is asked again.
    pub(crate) fn asks_again(&self, host: &mut Host, text: &str) -> Self {
        let call = self.answered(host, accept(text));
        self.followed(host, call)
    }

    /// The next question of the same tool's call.
    pub(crate) fn followed(&self, host: &mut Host, call: u64) -> Self {
        asked(host, call, &self.tool, self.arguments.clone())
    }

    /// The same, with another message.
    pub(crate) fn with(&self, call: u64, message: Value) -> Self {
        Self { call, tool: self.tool.clone(), arguments: self.arguments.clone(), message }
    }
}

/// The user fills the form in.
pub(crate) fn accept(text: &str) -> Value {
    json!({ "action": "accept", "content": { "value": text } })
}

/// The server takes that question back.
pub(crate) fn must_be_taken_back(host: &mut Host, asked: &Asked) {
    let id = asked.message["id"].clone();
    host.wait(|message| {
        message["method"] == "notifications/cancelled" && message["params"]["requestId"] == id
    });
}
