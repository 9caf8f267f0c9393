//! What a gateway tells of a kernel's end, in words.
//!
//! It looks after its kernels (Jupyter Server every three seconds), and starts one that has died anew,
//! under the same id: to husk that is another kernel.

use crate::kernel::{json, wire::Message};

json::object!(Content { execution_state });

/// How the kernel ended, if the message tells its end.
pub(in crate::kernel) fn told(message: &Message) -> Option<&'static str> {
    match message.kind.as_str() {
        // The kernel's own have a parent.
        "status" if message.parent.is_empty() => {
            let content: Content<'_> = serde_json::from_slice(&message.content).unwrap_or_default();
            match json::text(content.execution_state).as_str() {
                "restarting" | "autorestarting" => {
                    Some("its gateway says that it died or was restarted there, and not how")
                }
                "dead" => Some("its gateway says that it is dead, and not how"),
                _ => None,
            }
        }
        // A kernel that is asked to end says so to all.
        "shutdown_reply" => Some("it was ended at its gateway (culled, or by somebody)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernels_end_is_heard_and_its_restarts_are_one() {
        let check = |kind: &str, parent: &str, content: &str, ends: bool| {
            let content = content.to_owned().into();
            let message = Message { kind: kind.into(), parent: parent.into(), content };
            assert_eq!(told(&message).is_some(), ends, "{message:?}");
        };
        check("status", "", r#"{"execution_state": "restarting"}"#, true);
        check("status", "", r#"{"execution_state": "autorestarting"}"#, true);
        check("status", "", r#"{"execution_state": "dead"}"#, true);
        check("status", "", r#"{"execution_state": "starting"}"#, false);
        check("status", "p", r#"{"execution_state": "dead"}"#, false);
        check("status", "", "[]", false);
        check("shutdown_reply", "p", r#"{"restart": false}"#, true);
        check("execute_reply", "", "{}", false);
    }
}
