//! The manifests by Kubernetes' own schemas, and what they name; each kind of fault is put in once, and told.

use super::{Examples, WHOLE};

#[test]
fn the_api_takes_each_object_and_each_name_leads_to_something() {
    let examples = Examples::copy();
    for below in WHOLE {
        let judged = examples.judged(&[], below);
        let said = String::from_utf8_lossy(&judged.stdout).into_owned();
        let broken = String::from_utf8_lossy(&judged.stderr).into_owned();
        assert!(judged.status.success(), "{below}:\n{said}{broken}");
    }
}

/// With this in the place of that in a file, a part of the judgement is as expected.
fn check(below: &str, file: &str, from: &str, to: &str, expected: &str) {
    let examples = Examples::copy();
    examples.change(file, from, to);
    let judged = examples.judged(&[], below);
    let said = [judged.stdout, judged.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
    assert!(!judged.status.success(), "{file}: {to:?} is taken for right");
    assert!(said.contains(expected), "{file}, {to:?}: {expected:?} is not in:\n{said}");
}

fn pods(file: &str, from: &str, to: &str, expected: &str) {
    check("kernels-in-pods", &format!("kernels-in-pods/{file}"), from, to, expected);
}

fn beside(file: &str, from: &str, to: &str, expected: &str) {
    check("kernels-in-husk", &format!("kernels-in-husk/{file}"), from, to, expected);
}

fn common(file: &str, from: &str, to: &str, expected: &str) {
    check("kernels-in-husk", &format!("husk/{file}"), from, to, expected);
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    pods("husk.yaml", "serviceName:", "servicename:", "StatefulSet husk/husk: spec:");
    pods("husk.yaml", "runAsNonRoot: true", "runAsNonroot: true", "'runAsNonroot' was unexpected");
    pods("husk.yaml", "replicas: 2", "replicas: two", "'two' is not of type 'integer'");
    pods("enterprise-gateway.yaml", "value: \"8888\"", "value: 8888", "8888 is not of type");
    pods("kernels.yaml", "pods: \"40\"", "pods: [40]", "ResourceQuota husk-kernels/kernels");
    common(
        "ingress.yaml",
        "networking.k8s.io/v1\n",
        "networking.k8s.io/v1beta1\n",
        "has no Ingress",
    );
    common("ingress.yaml", "pathType: Prefix", "", "'pathType' is a required property");
    common("service.yaml", "kind: Service\n", "kind: Sevrice\n", "has no Sevrice");
}

#[test]
fn the_pod_of_a_kernel_is_judged_as_the_gateway_fills_it() {
    pods("kernelspec.yaml", "restartPolicy: Never", "restartpolicy: Never", "Pod husk-kernels/");
    pods("kernelspec.yaml", "{{ kernel_uid | int }}", "{{ kernel_user | int }}", "'kernel_user'");
    pods("kernelspec.yaml", "app.kubernetes.io/name: kernel", "app: kernel", "selects no pod");
    pods("kernelspec.yaml", "drop: [\"ALL\"]", "add: [\"SYS_ADMIN\"]", "may have privileges");
    pods(
        "enterprise-gateway.yaml",
        "value: husk-kernels",
        "value: kernels",
        "no namespace `kernels`",
    );
    pods("enterprise-gateway.yaml", "value: kernel\n", "value: kernels\n", "no ServiceAccount");
}

#[test]
fn a_name_that_leads_nowhere_is_told() {
    pods("husk.yaml", "secretName: husk-tokens", "secretName: tokens", "no Secret husk/tokens");
    pods("husk.yaml", "name: enterprise-gateway\n", "name: gateway\n", "no Secret husk/gateway");
    pods("husk.yaml", "key: token", "key: tokens", "has no `tokens`");
    pods(
        "husk.yaml",
        "configMap:\n            name: husk",
        "configMap:\n            name: hsk",
        "no ConfigMap husk/hsk",
    );
    pods("husk.yaml", "subPath: husk.toml", "subPath: husk.tml", "has no `husk.tml`");
    pods(
        "husk.yaml",
        "serviceAccountName: husk",
        "serviceAccountName: hsk",
        "no ServiceAccount husk/hsk",
    );
    pods(
        "husk.yaml",
        "serviceName: husk-replicas",
        "serviceName: replicas",
        "no Service husk/replicas",
    );
    pods("husk.yaml", "port: http\n", "port: https\n", "has no port `https`");
    pods(
        "husk.yaml",
        "name: ca\n              mountPath",
        "name: cas\n              mountPath",
        "no volume `cas`",
    );
    pods(
        "enterprise-gateway.yaml",
        "kind: Role\n  name: enter",
        "kind: Role\n  name: inter",
        "no Role",
    );
    pods(
        "enterprise-gateway.yaml",
        "claimName: enterprise-gateway",
        "claimName: eg",
        "no PersistentVolumeClaim",
    );
    common("ingress.yaml", "secretName: husk-tls", "secretName: tls", "no Secret husk/tls");
    common(
        "ingress.yaml",
        "name: husk\n                port",
        "name: nobody\n                port",
        "no Service husk/nobody",
    );
    beside("husk.yaml", "https://$(REPLICA)", "https://$(REPLIKA)", "names `REPLIKA`");
}

#[test]
fn what_nobody_uses_is_told() {
    beside("kustomization.yaml", "  - ../redis\n", "", "Secret husk/redis-tls: nobody uses it");
    beside("kustomization.yaml", "- name: ca\n", "- name: cas\n", "no Secret husk/ca");
    pods("kustomization.yaml", "  - network.yaml\n", "", "does not name `network.yaml`");
    pods("kustomization.yaml", "  - kernels.yaml\n", "  - kernel.yaml\n", "kernel.yaml");
    pods("kustomization.yaml", "resources:", "namePrefix: my-\nresources:", "`namePrefix`");
}

#[test]
fn a_selector_that_matches_nothing_is_told() {
    let label = "app.kubernetes.io/name: ";
    let of = |name: &str| format!("{label}{name}");
    common(
        "service.yaml",
        &format!("selector:\n    {}", of("husk")),
        "selector:\n    app: husk",
        "selects no pod",
    );
    common(
        "disruption.yaml",
        &of("husk"),
        &of("nobody"),
        "PodDisruptionBudget husk/husk: selects no pod",
    );
    common("network.yaml", &of("husk"), &of("nobody"), "NetworkPolicy husk/husk: selects no pod");
    common(
        "network.yaml",
        "name: nginx-ingress",
        "name: ngink-ingress",
        "no namespace `ngink-ingress`",
    );
    pods(
        "network.yaml",
        &of("enterprise-gateway"),
        &of("gateway"),
        "husk-to-gateway, egress: selects no pod",
    );
    pods("network.yaml", "- port: https", "- port: http", "has no port `http`");
    pods("network.yaml", "- port: 8877", "- port: 8878", "has no port `8878`");
    pods(
        "husk.yaml",
        &format!("labels:\n        {}", of("husk")),
        "labels:\n        app: husk",
        "does not match its own template",
    );
    beside(
        "replicas.yaml",
        "pod-name: husk-1",
        "pod-name: husk-2",
        "Service husk/husk-1: selects no pod",
    );
}

#[test]
fn a_pod_that_the_namespace_would_refuse_is_told() {
    pods("husk.yaml", "runAsUser: 10001", "runAsUser: 0", "may be root");
    pods("husk.yaml", "type: RuntimeDefault", "type: Unconfined", "has no seccomp profile");
    pods(
        "husk.yaml",
        "allowPrivilegeEscalation: false",
        "allowPrivilegeEscalation: true",
        "may have privileges",
    );
    beside("postgres.yaml", "              memory: 1Gi\n", "", "no requests or limits");
    beside("postgres.yaml", "      automountServiceAccountToken: false\n", "", "default account");
}
