//! Hooks that judge answers before they are used (`output_guardrails` of the routes).

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use super::{
    error::{Class, Failure},
    reply::Reply,
    route::{Fault, Target},
};

/// A hook that judges answers.
pub trait Guardrail: Send + Sync {
    /// Why the answer must not be used, if so. A hook that cannot judge objects, and says why.
    fn objection<'a>(&'a self, reply: &'a Reply) -> Judging<'a>;
}

/// An objection on its way.
pub type Judging<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// Hooks by the names that routes give them.
pub type Guardrails = BTreeMap<String, Arc<dyn Guardrail>>;

/// The hooks that a target names and that are not there.
pub(super) fn missing(guardrails: &Guardrails, target: &Target) -> Vec<Fault> {
    let names = target.output_guardrails.iter().filter(|hook| !guardrails.contains_key(*hook));
    let fault = |hook: &String| Fault {
        at: format!("target `{}`", target.name),
        what: format!(
            "names the guardrail `{hook}`, which is not there (`husk agent` has those of --guardrail)"
        ),
    };
    names.map(fault).collect()
}

/// The first objection of a target's hooks.
pub(super) async fn judge(
    guardrails: &Guardrails,
    target: &Target,
    reply: &Reply,
) -> Result<(), Failure> {
    for name in &target.output_guardrails {
        let Some(hook) = guardrails.get(name) else { continue };
        if let Some(objection) = hook.objection(reply).await {
            let what = format!("`{name}` objects: {objection}");
            return Err(Failure::new(Class::Guardrail, what));
        }
    }
    Ok(())
}
