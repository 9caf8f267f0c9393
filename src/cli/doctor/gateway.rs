//! What a gateway is looked at for: whether it is there and is trusted, takes the token, has the
//! kernelspec, and starts a kernel that can be spoken to.
//!
//! Each step takes the one before: after the first that fails there is nothing more to see.

use std::{io::ErrorKind, path::PathBuf, sync::Arc};

use super::{Check, told};
use crate::{
    app,
    config::Config,
    kernel::gateway::{Gateway, GatewayError, Offers},
    sandbox::{launch::Launcher, remote::Provisioner},
};

/// All of it.
pub(super) async fn all(config: &Config, folder: PathBuf, data: PathBuf) -> Vec<Check> {
    let provisioner = match app::gateway::open(config) {
        Ok(Some(provisioner)) => provisioner,
        // It was asked for.
        Ok(None) => return Vec::new(),
        Err(error) => return vec![Check::bad("gateway", told(&error), "do what is said here")],
    };
    let mut checks = Vec::new();
    let fits = looked_at(provisioner.gateway(), config, &mut checks).await;
    if fits {
        let mut launcher = app::launcher(config, folder, data);
        launcher.settings.pool = 0;
        checks.extend(kernel(launcher, config, &provisioner).await);
    }
    // It has ended what was started there.
    provisioner.close().await;
    checks
}

/// Everything but a kernel; whether one can be started.
async fn looked_at(gateway: &Gateway, config: &Config, checks: &mut Vec<Check>) -> bool {
    let there = there(gateway).await;
    let reached = there.ok;
    checks.push(there);
    if !reached {
        return false;
    }
    let offers = match gateway.offers().await {
        Ok(offers) => offers,
        Err(error) => {
            checks.push(refused(&error, config.gateway.token.is_some()));
            return false;
        }
    };
    let taken = if config.gateway.token.is_some() { "it is taken" } else { "none is wanted" };
    checks.push(Check::good("token", taken));
    let kernels = kernelspecs(&offers, config.kernel.as_deref());
    let fits = kernels.ok;
    checks.push(kernels);
    fits
}

/// Whether it answers, as a gateway does.
async fn there(gateway: &Gateway) -> Check {
    let url = gateway.url();
    let tls = if url.starts_with("https:") { "over TLS" } else { "without TLS" };
    let what = match gateway.version().await {
        Ok(version) => match version.gateway_version {
            Some(own) => format!("Enterprise Gateway {own}"),
            None => format!("Jupyter Server {} or what is built on it", version.version),
        },
        // It is asked for the token next.
        Err(GatewayError::Denied { .. }) => "it tells its version to whom it knows".to_owned(),
        Err(error) => return Check::bad("gateway", told(&error), way_out(&error, url)),
    };
    Check::good("gateway", format!("{url} ({tls}): {what}"))
}

/// The way to a gateway that does not answer as one.
fn way_out(error: &GatewayError, url: &str) -> &'static str {
    match error {
        GatewayError::Reach { source, .. }
            if url.starts_with("http:") && source.kind() != ErrorKind::ConnectionRefused =>
        {
            "start it, correct `gateway.url`, or write `https:` there if it speaks TLS"
        }
        GatewayError::Reach { .. } | GatewayError::Late { .. } => {
            "start it, or correct `gateway.url`"
        }
        GatewayError::Untrusted { .. } => "do what is said here",
        _ => {
            "correct `gateway.url`: it is what stands before `api/kernels` in the gateway's addresses"
        }
    }
}

fn refused(error: &GatewayError, has_token: bool) -> Check {
    let mend = match (error, has_token) {
        (GatewayError::Denied { .. }, true) => "set HUSK_GATEWAY_TOKEN to a token that it takes",
        (GatewayError::Denied { .. }, false) => "it wants a token: set HUSK_GATEWAY_TOKEN",
        _ => "do what is said here",
    };
    Check::bad("token", told(error), mend)
}

/// Whether the kernelspec that is asked for is among them.
fn kernelspecs(offers: &Offers, asked: Option<&str>) -> Check {
    let default = |name: &str| offers.default.as_deref() == Some(name);
    let shown = |(name, language): &(String, String)| {
        format!("{name} ({language}{})", if default(name) { ", the default" } else { "" })
    };
    let listed = offers.all.iter().map(shown).collect::<Vec<_>>().join(", ");
    let has = |wanted: &str| offers.all.iter().any(|(name, _)| name == wanted);
    match (asked, &offers.default) {
        (Some(name), _) if has(name) => Check::good("kernels", format!("{name}; found {listed}")),
        (Some(name), _) => Check::bad(
            "kernels",
            format!("the gateway has no kernelspec `{name}`; found {listed}"),
            "choose one of those with --kernel, or install it there",
        ),
        (None, Some(name)) if has(name) => Check::good("kernels", listed),
        (None, _) => Check::bad(
            "kernels",
            format!("the gateway's default kernelspec is not there; found {listed}"),
            "choose one of those with --kernel, or install one there (python -m ipykernel install)",
        ),
    }
}

/// A real kernel there, spoken to over its WebSocket.
async fn kernel(mut launcher: Launcher, config: &Config, gateway: &Arc<Provisioner>) -> Vec<Check> {
    launcher.gateway = Some(Arc::clone(gateway));
    let mend = "do what is said here; the gateway's own log says more. A proxy on the way must let \
                WebSockets through";
    super::cell(launcher, config, mend).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernelspec_that_is_asked_for_has_to_be_there() {
        let check = |default: Option<&str>, asked: Option<&str>, ok: bool, expected: &str| {
            let all = ["ir", "python3"].map(|name| (name.to_owned(), "a language".to_owned()));
            let offers = Offers { default: default.map(str::to_owned), all: all.to_vec() };
            let line = kernelspecs(&offers, asked);
            assert_eq!(line.ok, ok, "{line:?}");
            assert!(line.found.contains(expected), "{line:?}");
        };
        check(Some("python3"), None, true, "python3 (a language, the default)");
        check(Some("python3"), Some("ir"), true, "ir; found ir (a language), python3");
        check(Some("python3"), Some("cobol"), false, "no kernelspec `cobol`; found ir");
        check(Some("gone"), None, false, "default kernelspec is not there; found ir");
        check(None, None, false, "default kernelspec is not there");
    }
}
