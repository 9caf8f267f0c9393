//! The settings in the manifests: husk's own reader takes them, and they agree with what stands around them.

use std::{ffi::OsString, fs};

use husk::config::{Config, Faults, Sources, load};
use serde_json::Value;

use super::{Examples, WHOLE, container, husk_toml, object};

/// The settings of one of the folders, read as husk in its pod reads them.
fn read(examples: &Examples, below: &str, toml: &str) -> Result<Config, Faults> {
    let objects = examples.objects(below);
    let project = tempfile::tempdir().unwrap();
    fs::write(project.path().join("husk.toml"), toml).unwrap();
    let sources = Sources {
        env: variables(examples, below, &objects),
        project: project.path().to_owned(),
        config_file: Some("husk.toml".into()),
        memory: Some(1 << 34),
        ..Sources::default()
    };
    load(&sources).map(|loaded| loaded.config)
}

/// husk's variables in the pod of its first replica.
pub(super) fn variables(
    examples: &Examples,
    below: &str,
    objects: &[Value],
) -> Vec<(OsString, OsString)> {
    let all = container(objects)["env"].as_array().unwrap();
    all.iter()
        .map(|it| {
            let value = match (it["value"].as_str(), &it["valueFrom"]["secretKeyRef"]) {
                (Some(value), _) => value.replace("$(REPLICA)", "husk-0"),
                (None, Value::Null) => "husk-0".to_owned(),
                (None, of) => {
                    let secret = object(objects, "Secret", of["name"].as_str().unwrap());
                    let file = secret["data"][of["key"].as_str().unwrap()].as_str().unwrap();
                    fs::read_to_string(examples.path(below).join(file)).unwrap()
                }
            };
            (it["name"].as_str().unwrap().into(), value.into())
        })
        .collect()
}

fn with_secrets(below: &str) -> Examples {
    let examples = Examples::copy();
    examples.make_secrets(below);
    examples
}

#[test]
fn husk_takes_the_settings_and_no_others() {
    for below in WHOLE {
        let examples = with_secrets(below);
        let toml = husk_toml(&examples.objects(below));
        let config =
            read(&examples, below, &toml).unwrap_or_else(|faults| panic!("{below}: {faults}"));
        assert_eq!(config.http.tokens.unwrap().to_str(), Some("/etc/husk/tokens/tokens.toml"));
        let unknown = toml.replace("max_kernels", "most_kernels");
        assert!(read(&examples, below, &unknown).unwrap_err().to_string().contains("most_kernels"));
        let file = format!("{below}/husk.yaml");
        examples.change(
            &file,
            "env:\n",
            "env:\n            - name: HUSK_STORE_ADDRESS\n              value: x\n",
        );
        let refused = read(&examples, below, &toml).unwrap_err().to_string();
        assert!(refused.contains("HUSK_STORE_ADDRESS"), "{refused}");
    }
}

/// A quantity of Kubernetes, in bytes or whole things.
fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "Gi" => 1 << 30,
        "Mi" => 1 << 20,
        "" => 1,
        unit => panic!("{unit}"),
    };
    digits.parse::<u64>().unwrap() * unit
}

fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn kernels_in_husks_pod_have_room_in_it() {
    let examples = with_secrets("kernels-in-husk");
    let objects = examples.objects("kernels-in-husk");
    let config = read(&examples, "kernels-in-husk", &husk_toml(&objects)).unwrap();
    let kernels = config.http.max_kernels as u64;
    let memory = quantity(&container(&objects)["resources"]["limits"]["memory"]);
    // What husk itself takes, with one display of 100 MB that is held whole.
    assert!(kernels * config.sandbox.memory_bytes.unwrap() + (512 << 20) <= memory);
    let spec = &object(&objects, "StatefulSet", "husk")["spec"]["template"]["spec"];
    let tmp = spec["volumes"].as_array().unwrap().iter().find(|it| it["name"] == "tmp").unwrap();
    assert!(kernels * config.sandbox.tmp_bytes < quantity(&tmp["emptyDir"]["sizeLimit"]));
}

#[test]
fn kernels_in_pods_have_room_in_their_namespace() {
    let examples = with_secrets("kernels-in-pods");
    let objects = examples.objects("kernels-in-pods");
    let config = read(&examples, "kernels-in-pods", &husk_toml(&objects)).unwrap();
    let kernels = whole(&object(&objects, "StatefulSet", "husk")["spec"]["replicas"])
        * config.http.max_kernels as u64;
    let quota = &object(&objects, "ResourceQuota", "kernels")["spec"]["hard"];
    assert_eq!(quantity(&quota["pods"]), kernels);
    // Of each: memory 256 Mi to 2 Gi, and a tenth of a processor.
    let pod = object(&objects, "ConfigMap", "kernelspec")["data"]["kernel-pod.yaml.j2"].as_str();
    for bound in ["cpu: 100m", "memory: 256Mi", "memory: 2Gi"] {
        assert!(pod.unwrap().contains(bound), "{bound}");
    }
    assert!(quantity(&quota["requests.cpu"]) * 10 >= kernels);
    assert!(quantity(&quota["requests.memory"]) >= kernels * (256 << 20));
    assert!(quantity(&quota["limits.memory"]) >= kernels * (2 << 30));
    // The gateway gives up before husk does.
    let gateway = object(&objects, "Deployment", "enterprise-gateway");
    let env = gateway["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let said =
        |name: &str| env.iter().find(|it| it["name"] == name).unwrap()["value"].as_str().unwrap();
    assert!(said("EG_KERNEL_LAUNCH_TIMEOUT").parse::<f64>().unwrap() < config.launch.timeout);
    let (first, last) = said("EG_PORT_RANGE").split_once("..").unwrap();
    let policies = fs::read_to_string(examples.path("kernels-in-pods/network.yaml")).unwrap();
    assert_eq!(policies.matches(&format!("port: {first}")).count(), 2);
    assert_eq!(policies.matches(&format!("endPort: {last}")).count(), 2);
}

#[test]
fn a_replica_has_the_time_to_end_that_it_needs() {
    for below in WHOLE {
        let examples = with_secrets(below);
        let objects = examples.objects(below);
        let config = read(&examples, below, &husk_toml(&objects)).unwrap();
        let waits = whole(&container(&objects)["lifecycle"]["preStop"]["sleep"]["seconds"]) as f64;
        let pod = &object(&objects, "StatefulSet", "husk")["spec"]["template"]["spec"];
        let grace = whole(&pod["terminationGracePeriodSeconds"]) as f64;
        // The last words of streams take a second, the ends of kernels at a gateway at most 25.
        assert!(waits + config.http.end_seconds + 1.0 + 25.0 < grace, "{below}");
    }
}

#[test]
fn every_name_by_which_users_come_is_one_that_husk_answers_to() {
    for below in WHOLE {
        let examples = with_secrets(below);
        let objects = examples.objects(below);
        let config = read(&examples, below, &husk_toml(&objects)).unwrap();
        let ways: Vec<&Value> = objects.iter().filter(|it| it["kind"] == "Ingress").collect();
        let rules = ways.iter().flat_map(|it| it["spec"]["rules"].as_array().unwrap());
        let mut hosts: Vec<&str> = rules.map(|rule| rule["host"].as_str().unwrap()).collect();
        hosts.sort_unstable();
        let mut known = config.http.hosts.clone();
        known.sort_unstable();
        assert_eq!(known, hosts, "{below}");
        // Each replica says under which of them it alone is reached, where that is ever told.
        let replicas = whole(&object(&objects, "StatefulSet", "husk")["spec"]["replicas"]);
        let own = (0..replicas)
            .filter(|n| hosts.contains(&format!("husk-{n}.husk.example.com").as_str()));
        let told = config.http.advertise.is_some();
        assert_eq!(own.count() as u64, if told { replicas } else { 0 }, "{below}");
        assert_eq!(told, config.store.url.is_some());
        for way in ways {
            let most = &way["metadata"]["annotations"]["nginx.org/client-max-body-size"];
            assert_eq!((most, config.http.max_body_bytes), (&"4m".into(), 4 << 20));
        }
    }
}

#[test]
fn what_the_settings_name_is_mounted() {
    for below in WHOLE {
        let examples = Examples::copy();
        let objects = examples.objects(below);
        let toml = husk_toml(&objects);
        let mounts = container(&objects)["volumeMounts"].as_array().unwrap();
        let args = container(&objects)["args"].as_array().unwrap();
        let paths = toml.split(['"', '=', '&']).filter(|word| word.starts_with('/'));
        for path in paths
            .chain(args.iter().filter_map(|arg| arg.as_str().filter(|arg| arg.starts_with('/'))))
        {
            let fits = |it: &&Value| path.starts_with(it["mountPath"].as_str().unwrap());
            assert!(mounts.iter().any(|it| fits(&it)), "{below}: nothing is mounted for {path}");
        }
    }
}
