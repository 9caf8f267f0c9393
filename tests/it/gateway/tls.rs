//! Gateways over TLS: one whose certificate a private authority has issued is used, and one that cannot
//! be trusted is not.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::server::{Gateway, Kind, TOKEN};
use crate::support::certificates;

/// A gateway with a certificate for `localhost`.
pub(super) struct Secured {
    pub(super) gateway: Gateway,
    folder: TempDir,
}

impl Secured {
    pub(super) fn start(kind: Kind) -> Self {
        Self::start_with(kind, "cert.pem", false)
    }

    /// With that certificate; one that `wants` one of its clients lets nobody else in.
    fn start_with(kind: Kind, certificate: &str, wants: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let app = match kind {
            Kind::JupyterServer => "ServerApp",
            Kind::KernelGateway => "KernelGatewayApp",
        };
        let option = |name: &str, file: &str| {
            format!("--{app}.{name}={}", folder.path().join(file).display())
        };
        let mut options = vec![option("certfile", certificate), option("keyfile", "key.pem")];
        options.extend(wants.then(|| option("client_ca", "ca.pem")));
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let gateway = Gateway::start_with(kind, &options);
        Self { gateway, folder }
    }

    /// Whom to trust.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(super) fn url(&self, host: &str) -> String {
        format!("{host}:{}", self.gateway.port)
    }
}

#[test]
fn cells_run_at_a_gateway_whose_certificate_a_private_authority_has_issued() {
    for kind in [Kind::JupyterServer, Kind::KernelGateway] {
        let secured = Secured::start(kind);
        let (url, ca) = (secured.url("https://localhost"), secured.ca());
        let settings = [("HUSK_GATEWAY_URL", &*url), ("HUSK_GATEWAY_CA", ca.to_str().unwrap())];
        let mut host = secured.gateway.launch(None, &settings);
        host.initialize("2025-11-25");
        assert_eq!(host.ok("x = 41; print('é'); x + 1"), "é\n42", "{kind:?}");
        let plot = host.cell("import matplotlib.pyplot as plt; plt.plot([x]); plt.show()");
        assert_eq!(plot.blocks("image").len(), 1, "{kind:?}: {plot:?}");
        let running = host.begin_cell("import time; time.sleep(1000)");
        host.tool("notebook_interrupt", serde_json::json!({}));
        assert_eq!(host.result(running).status(), "interrupted", "{kind:?}");
        assert_eq!(host.ok("x"), "41", "{kind:?}");
    }
}

/// A cell at that gateway is refused, for that reason; nothing shows the token.
fn refused(gateway: &Gateway, url: &str, ca: Option<&Path>, expected: &[&str]) {
    let ca = ca.map(|path| ("HUSK_GATEWAY_CA", path.to_str().unwrap()));
    let settings: Vec<_> = [("HUSK_GATEWAY_URL", url)].into_iter().chain(ca).collect();
    let mut host = gateway.launch(None, &settings);
    host.initialize("2025-11-25");
    let answer = host.cell("1");
    assert_eq!(answer.structured()["denied"]["code"], "kernel_start_failed", "{url}: {answer:?}");
    let text = answer.text();
    for part in expected {
        assert!(text.contains(part), "{url}: {part}: {text}");
    }
    assert!(!text.contains(TOKEN), "{text}");
}

#[test]
fn a_gateway_that_cannot_be_trusted_is_told_with_the_way_out() {
    let secured = Secured::start(Kind::JupyterServer);
    let (gateway, ca) = (&secured.gateway, secured.ca());
    let right = secured.url("https://localhost");
    let stranger = tempfile::tempdir().unwrap();
    certificates(stranger.path());
    let issuer = ["is not trusted: nobody whom husk trusts has issued", "`gateway.ca`", &right];
    refused(gateway, &right, None, &issuer);
    refused(gateway, &right, Some(&stranger.path().join("ca.pem")), &issuer);
    let name = ["is not trusted: its certificate is another one's", "`gateway.url`", "127.0.0.1"];
    refused(gateway, &secured.url("https://127.0.0.1"), Some(&ca), &name);
    let plain = secured.url("http://localhost");
    refused(gateway, &plain, None, &["cannot reach the gateway", "`gateway.url`"]);
    let unsecured = Gateway::start(Kind::JupyterServer);
    let url = format!("https://localhost:{}", unsecured.port);
    refused(&unsecured, &url, Some(&ca), &["it does not speak TLS", "`gateway.url`"]);
    // As Jupyter's documentation has it made.
    let alone = Secured::start_with(Kind::JupyterServer, "own.pem", false);
    let own = alone.folder.path().join("own.pem");
    let url = alone.url("https://localhost");
    refused(&alone.gateway, &url, Some(&own), &["the certificate of an authority", "CA:FALSE"]);
    // The one says so after both have shaken hands (TLS 1.3), the other one breaks that off.
    let ways = [
        (Kind::JupyterServer, "does not trust husk: it wants a certificate"),
        (Kind::KernelGateway, "refuses TLS with husk: it wants a certificate"),
    ];
    for (kind, why) in ways {
        let wants = Secured::start_with(kind, "cert.pem", true);
        let url = wants.url("https://localhost");
        refused(&wants.gateway, &url, Some(&wants.ca()), &[why, "`client_ca`"]);
    }
}
