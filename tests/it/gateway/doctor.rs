//! `husk doctor` where kernels run at a gateway: what it finds, and what it says is wrong.

use serde_json::Value;

use super::{
    server::{Gateway, Kind, TOKEN},
    tls::Secured,
};

/// What it says with these settings (an empty one is unset) and words: each line, and whether all is well.
fn asked(gateway: &Gateway, settings: &[(&str, &str)], words: &[&str]) -> (Vec<Value>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = gateway.command(settings);
    for (name, _) in settings.iter().filter(|(_, value)| value.is_empty()) {
        command.env_remove(name);
    }
    command.env("HUSK_DATA_DIR", folder.path().join("data")).current_dir(folder.path());
    let output = command.args(words).args(["doctor", "--json"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains(TOKEN), "{said}");
    let lines = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"));
    (lines, output.status.success())
}

/// The lines up to that one are good, and that one, the last, is bad: it says that, and that mends it.
fn fails(
    gateway: &Gateway,
    settings: &[(&str, &str)],
    words: &[&str],
    (name, found, mend): (&str, &str, &str),
) {
    let (lines, good) = asked(gateway, settings, words);
    let (last, before) = lines.split_last().unwrap();
    assert!(!good && before.iter().all(|line| line["ok"] == true), "{name}: {lines:?}");
    assert_eq!(
        (&last["name"], &last["ok"]),
        (&Value::from(name), &Value::from(false)),
        "{lines:?}"
    );
    let told = |member: &str| last[member].as_str().unwrap_or_default();
    assert!(told("found").contains(found), "{name}: {last}");
    assert!(told("mend").contains(mend), "{name}: {last}");
}

#[test]
fn doctor_starts_a_kernel_at_a_gateway_and_leaves_none() {
    for kind in [Kind::JupyterServer, Kind::KernelGateway] {
        let gateway = Gateway::start(kind);
        let (lines, good) = asked(&gateway, &[], &[]);
        assert!(good, "{kind:?}: {lines:?}");
        let names: Vec<_> = lines.iter().map(|line| line["name"].as_str().unwrap()).collect();
        let expected =
            ["husk", "config", "gateway", "token", "kernels", "kernel start", "isolation", "cell"];
        assert_eq!(names, expected, "{kind:?}");
        let found = |at: usize| lines[at]["found"].as_str().unwrap();
        assert!(found(2).contains(&gateway.at()) && found(2).contains("without TLS"), "{lines:?}");
        assert_eq!(found(3), "it is taken");
        assert!(found(4).contains("python3 (python, the default)"), "{lines:?}");
        assert_eq!(gateway.kernels(), [""; 0], "{kind:?}");
    }
    let secured = Secured::start(Kind::JupyterServer);
    let (url, ca) = (secured.url("https://localhost"), secured.ca());
    let settings = [("HUSK_GATEWAY_URL", &*url), ("HUSK_GATEWAY_CA", ca.to_str().unwrap())];
    let (lines, good) = asked(&secured.gateway, &settings, &["--kernel", "python3"]);
    assert!(good && lines[2]["found"].as_str().unwrap().contains("over TLS"), "{lines:?}");
    let distrust = ("gateway", "nobody whom husk trusts", "do what is said here");
    fails(&secured.gateway, &settings[..1], &[], distrust);
    let plain = [("HUSK_GATEWAY_URL", &*secured.url("http://localhost"))];
    fails(&secured.gateway, &plain, &[], ("gateway", "cannot reach the gateway", "`https:`"));
}

#[test]
fn doctor_says_what_is_wrong_with_a_gateway_and_what_mends_it() {
    for kind in [Kind::JupyterServer, Kind::KernelGateway] {
        let gateway = Gateway::start(kind);
        let expired = [("HUSK_GATEWAY_TOKEN", "expired-token")];
        fails(&gateway, &expired, &[], ("token", "refuses it (40", "set HUSK_GATEWAY_TOKEN to"));
        let none = [("HUSK_GATEWAY_TOKEN", "")];
        fails(&gateway, &none, &[], ("token", "refuses it (40", "it wants a token"));
        let cobol = ["--kernel", "cobol"];
        let missing = ("kernels", "no kernelspec `cobol`; found python3", "--kernel");
        fails(&gateway, &[], &cobol, missing);
        let isolated = [("HUSK_SANDBOX_ISOLATION", "auto")];
        fails(&gateway, &isolated, &[], ("gateway", "sandbox.isolation", "do what is said here"));
        let base = format!("http://{}/nothing", gateway.at());
        let elsewhere = [("HUSK_GATEWAY_URL", &*base)];
        fails(&gateway, &elsewhere, &[], ("gateway", "answers 404", "correct `gateway.url`"));
        gateway.break_a_kernelspec("broken", &["/nowhere"]);
        let broken = ["--kernel", "broken"];
        fails(&gateway, &[], &broken, ("kernel start", "kernelspec \"broken\"", "own log"));
    }
    let absent = Gateway::absent(Kind::JupyterServer, &[]);
    fails(&absent, &[], &[], ("gateway", "cannot reach the gateway", "or correct `gateway.url`"));
    let mut open = Gateway::absent(Kind::JupyterServer, &["--IdentityProvider.token="]);
    open.begin();
    let (lines, good) = asked(&open, &[("HUSK_GATEWAY_TOKEN", "")], &[]);
    assert!(good && lines[3]["found"] == "none is wanted", "{lines:?}");
}
