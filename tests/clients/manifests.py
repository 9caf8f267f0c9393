"""Judges manifests for Kubernetes: manifests.py FOLDER shows what is wrong, manifests.py --show FOLDER what they are, as JSON.

FOLDER holds a kustomization.yaml. Every object is held against the API's own schema, strictly, in the oldest and the
newest version that they are for. Schemas know nothing of what an object names: that each name leads to something, and
that something uses it, is looked for in `references`. Needs the packages of tests/kubernetes.txt.
"""

import functools
import json
import sys
from pathlib import Path

import jinja2
import kubernetes_validate
import kubernetes_validate.utils
import yaml

from manifests_names import references

VERSIONS = ("1.30", "1.37")
# The package reads megabytes of schemas anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)
# All that is known here of kustomize: another field would change what is applied.
FIELDS = {"apiVersion", "kind", "resources", "secretGenerator", "generatorOptions"}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding", "PersistentVolume", "StorageClass", "IngressClass"}


class Loader(yaml.SafeLoader):
    """YAML in which no key stands twice: the first of the two would be lost without a word."""


def mapping(loader, node):
    seen = set()
    for key, _ in node.value:
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"`{key.value}` stands twice", key.start_mark)
        seen.add(key.value)
    return loader.construct_mapping(node, deep=True)


Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def documents(file):
    """The objects of a file, each with where it stands."""
    try:
        objects = [it for it in yaml.load_all(file.read_text(), Loader) if it is not None]
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"{file.name}: {' '.join(str(error).split())}")
    for it in objects:
        missing = [field for field in ("apiVersion", "kind") if field not in it]
        if missing:
            raise SystemExit(f"{file.name}: an object without `{missing[0]}`")
    return objects


def generated(generator):
    """A secret whose data are in files that only its user has: shown is where."""
    data = dict(entry.split("=") for entry in generator["files"])
    metadata = {"name": generator["name"], "namespace": generator["namespace"]}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": generator.get("type", "Opaque")}
    return {**secret, "data": data}


def build(folder, faults):
    """The objects of a folder, as `kubectl kustomize` has them."""
    file = folder / "kustomization.yaml"
    (kustomization,) = documents(file)
    faults += [f"{folder.name}: no check knows kustomize's `{field}`" for field in kustomization.keys() - FIELDS]
    if kustomization.get("secretGenerator") and not kustomization["generatorOptions"].get("disableNameSuffixHash"):
        faults.append(f"{folder.name}: the secrets' names would end in a hash")
    objects, listed = [], {file}
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        listed.add(path)
        objects += build(path, faults) if path.is_dir() else documents(path)
    unlisted = {path.resolve() for path in folder.glob("*.y*ml")} - {path.resolve() for path in listed}
    faults += [f"{folder.name}: kustomization.yaml does not name `{path.name}`" for path in unlisted]
    return objects + [generated(it) for it in kustomization.get("secretGenerator", [])]


def title(it):
    metadata = it.get("metadata") or {}
    return f"{it['kind']} {metadata.get('namespace', '')}/{metadata.get('name', '?')}"


def invalid(it):
    """What the API of each version says against an object."""
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(it, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(step) for step in error.path)
            yield f"{title(it)}: {place}: {error.message} (Kubernetes {version})"
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{title(it)}: Kubernetes {version} has no {it['kind']} of {it['apiVersion']}"


def misplaced(objects):
    """Objects that are there twice, or in a namespace that is not."""
    namespaces = {it["metadata"]["name"] for it in objects if it["kind"] == "Namespace"}
    seen = set()
    for it in objects:
        if title(it) in seen:
            yield f"{title(it)}: is there twice"
        seen.add(title(it))
        namespace = it["metadata"].get("namespace")
        if it["kind"] not in CLUSTER_WIDE and namespace not in namespaces:
            yield f"{title(it)}: no namespace `{namespace}`"


def quoted(value):
    """As Enterprise Gateway's own launch_kubernetes.py puts a text into a template."""
    return yaml.dump(value, default_style='"', width=10000).strip()


def kernel_variables(objects, spec):
    """What Enterprise Gateway fills a template with: its environment, and what it finds out itself."""
    gateway = next(it for it in objects if it["kind"] == "Deployment" and "enterprise-gateway" in it["metadata"]["name"])
    env = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {it["name"]: it["value"] for it in env if "value" in it}
    fixed = {
        "kernel_id": "00000000-0000-4000-8000-000000000000",
        "kernel_pod_name": "jovyan-00000000-0000-4000-8000-000000000000",
        "kernel_service_account_name": given["EG_DEFAULT_KERNEL_SERVICE_ACCOUNT_NAME"],
        "kernel_image": spec["metadata"]["process_proxy"]["config"]["image_name"],
        "kernel_uid": "1000",
        "kernel_gid": "100",
    }
    return {**fixed, **{key.lower(): value for key, value in given.items() if key.startswith("KERNEL_")}}


def kernels(objects):
    """The pods that Enterprise Gateway makes of its template."""
    for it in [it for it in objects if it["kind"] == "ConfigMap" and "kernel-pod.yaml.j2" in it["data"]]:
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
        environment.filters["yaml_safe"] = quoted
        template = environment.from_string(it["data"]["kernel-pod.yaml.j2"])
        variables = kernel_variables(objects, json.loads(it["data"]["kernel.json"]))
        try:
            yield yaml.load(template.render(variables), Loader)
        except (jinja2.UndefinedError, yaml.YAMLError) as error:
            raise SystemExit(f"kernel-pod.yaml.j2: {' '.join(str(error).split())}")


def main(folder, show=False):
    faults = []
    objects = build(Path(folder).resolve(), faults)
    nameless = [it["kind"] for it in objects if not (it.get("metadata") or {}).get("name")]
    if nameless:
        raise SystemExit(f"a {nameless[0]} without a name")
    made = list(kernels(objects))
    for it in objects + made:
        faults += invalid(it)
    # Names are looked for in what has the right form.
    if not faults:
        faults += misplaced(objects + made)
        faults += references(objects, made)
    if show:
        print(json.dumps({"objects": objects, "kernels": made}))
    else:
        print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(arguments[-1], show="--show" in arguments))
