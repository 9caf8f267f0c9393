"""Whether what Kubernetes' objects name is there, and what is there is used: a part of manifests.py.

The API server takes an object that names a Secret which nobody has made: its pods then wait for ever. It takes a
selector that matches nothing: a policy that protects nobody, a service that leads nowhere.
"""

import re

# Namespaces that a cluster has, and the one of the ingress controller.
OUTSIDE = {"kube-system", "nginx-ingress"}
USED = {"ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount", "Role", "ClusterRole"}
VOLUMES = {
    "configMap": ("ConfigMap", "name"),
    "secret": ("Secret", "secretName"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
}
ORDINAL = "statefulset.kubernetes.io/pod-name"


class Pods:
    """A pod template, or a pod: where, with which labels, and what it is."""

    def __init__(self, owner, template, kind):
        self.owner, self.kind = owner, kind
        self.namespace = owner["metadata"]["namespace"]
        self.spec, self.labels = template["spec"], template["metadata"].get("labels", {})
        self.title = f"{owner['kind']} {self.namespace}/{owner['metadata']['name']}"
        self.names = set()
        if kind == "StatefulSet":
            replicas = owner["spec"].get("replicas", 1)
            self.names = {f"{owner['metadata']['name']}-{ordinal}" for ordinal in range(replicas)}

    def containers(self):
        return self.spec.get("initContainers", []) + self.spec["containers"]

    def matches(self, labels):
        own = lambda key, value: value in self.names if key == ORDINAL else self.labels.get(key) == value
        return all(own(key, value) for key, value in labels.items())

    def has_port(self, port):
        ports = [it for container in self.spec["containers"] for it in container.get("ports", [])]
        # What a kernel listens at is known when it has started.
        return self.kind == "Pod" or any(port in (it.get("name"), it["containerPort"]) for it in ports)


class Names:
    """All objects, and what is wrong with how they name one another."""

    def __init__(self, objects, made):
        self.objects = {(it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]): it for it in objects}
        self.namespaces = {it["metadata"]["name"] for it in objects if it["kind"] == "Namespace"}
        templates = [it for it in objects if it["kind"] in ("Deployment", "StatefulSet")]
        self.pods = [Pods(it, it["spec"]["template"], it["kind"]) for it in templates]
        self.pods += [Pods(it, it, "Pod") for it in made]
        self.used, self.faults = set(), []

    def find(self, who, kind, namespace, name, key=None):
        """The object of that name; with `key`, it has that entry."""
        self.used.add((kind, namespace, name))
        found = self.objects.get((kind, namespace, name))
        if found is None:
            self.faults.append(f"{who}: no {kind} {namespace}/{name}")
        elif key is not None and key not in found["data"]:
            self.faults.append(f"{who}: {kind} {namespace}/{name} has no `{key}`")
        return found

    def select(self, who, namespace, selector):
        """The pods that a selector matches: there has to be one."""
        odd = selector.keys() - {"matchLabels"}
        if odd:
            self.faults.append(f"{who}: no check knows the selector's `{odd.pop()}`")
        labels = selector.get("matchLabels", {})
        found = [pods for pods in self.pods if pods.namespace == namespace and pods.matches(labels)]
        if not found:
            self.faults.append(f"{who}: selects no pod: {labels}")
        return found

    def port(self, who, pods, port):
        self.faults += [f"{who}: {it.title} has no port `{port}`" for it in pods if not it.has_port(port)]


def volumes(names, pods):
    """What is mounted is a volume, what is a volume is mounted, and what it holds is there."""
    there = {it["name"]: it for it in pods.spec.get("volumes", [])}
    claims = {it["metadata"]["name"] for it in pods.owner["spec"].get("volumeClaimTemplates", [])}
    mounted = [mount for container in pods.containers() for mount in container.get("volumeMounts", [])]
    names.faults += [f"{pods.title}: no volume `{it['name']}`" for it in mounted if it["name"] not in there.keys() | claims]
    unused = (there.keys() | claims) - {it["name"] for it in mounted}
    names.faults += [f"{pods.title}: nobody mounts the volume `{name}`" for name in unused]
    for volume in there.values():
        (source,) = volume.keys() - {"name"}
        if source == "emptyDir":
            continue
        if source not in VOLUMES:
            names.faults.append(f"{pods.title}: no check knows volumes of the kind `{source}`")
            continue
        kind, field = VOLUMES[source]
        files = [it["subPath"] for it in mounted if it["name"] == volume["name"] and "subPath" in it]
        for key in files or [None]:
            names.find(pods.title, kind, pods.namespace, volume[source][field], key)


def environment(names, pods):
    """Variables come from what is there, and name only those before them."""
    for container in pods.containers():
        known = set()
        for variable in container.get("env", []):
            for word in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
                if word not in known:
                    names.faults.append(f"{pods.title}: `{variable['name']}` names `{word}`, which is not set before it")
            known.add(variable["name"])
            for source, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if entry := variable.get("valueFrom", {}).get(source):
                    names.find(pods.title, kind, pods.namespace, entry["name"], entry["key"])


def confined(names, pods):
    """What the label `pod-security.kubernetes.io/enforce: restricted` asks for, and bounds for everything."""
    general = pods.spec.get("securityContext", {})
    wrong = []
    if general.get("runAsNonRoot") is not True or general.get("runAsUser") == 0:
        wrong.append("may be root")
    if general.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong.append("has no seccomp profile")
    for container in pods.containers():
        own = container.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            wrong.append(f"`{container['name']}` may have privileges")
        bounds = container.get("resources", {})
        if not {"cpu", "memory"} <= bounds.get("requests", {}).keys() & bounds.get("limits", {}).keys():
            wrong.append(f"`{container['name']}` has no requests or limits of processors and memory")
    names.faults += [f"{pods.title}: {it}" for it in wrong]


def workload(names, pods):
    for container in pods.containers():
        probes = [container.get(probe, {}) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
        asked = [probe.get("httpGet") or probe.get("tcpSocket") for probe in probes]
        for ask in filter(None, asked):
            names.port(f"{pods.title}, a probe", [pods], ask["port"])
    account = pods.spec.get("serviceAccountName")
    if account:
        names.find(pods.title, "ServiceAccount", pods.namespace, account)
    elif pods.spec.get("automountServiceAccountToken") is not False:
        names.faults.append(f"{pods.title}: has the default account at the API server")
    for spread in pods.spec.get("topologySpreadConstraints", []):
        names.select(pods.title, pods.namespace, spread["labelSelector"])
    if pods.kind == "Pod":
        return
    if not pods.matches(pods.owner["spec"]["selector"]["matchLabels"]):
        names.faults.append(f"{pods.title}: its selector does not match its own template")
    if pods.kind == "StatefulSet":
        names.find(pods.title, "Service", pods.namespace, pods.owner["spec"]["serviceName"])


def service(names, who, namespace, it):
    pods = names.select(who, namespace, {"matchLabels": it["spec"]["selector"]})
    for port in it["spec"]["ports"]:
        names.port(who, pods, port.get("targetPort", port["port"]))


def ingress(names, who, namespace, it):
    for tls in it["spec"].get("tls", []):
        for key in ("tls.crt", "tls.key"):
            names.find(who, "Secret", namespace, tls["secretName"], key)
    for path in [path for rule in it["spec"]["rules"] for path in rule["http"]["paths"]]:
        backend = path["backend"]["service"]
        found = names.find(who, "Service", namespace, backend["name"])
        port = backend["port"].get("name", backend["port"].get("number"))
        ports = found["spec"]["ports"] if found else []
        if found and not any(port in (it.get("name"), it["port"]) for it in ports):
            names.faults.append(f"{who}: Service {namespace}/{backend['name']} has no port `{port}`")


def peers(names, who, namespace, selectors):
    """The pods at the other end of a rule; none of a namespace that is not ours."""
    found = []
    for peer in selectors:
        where = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name", namespace)
        if where in names.namespaces:
            found += names.select(who, where, peer.get("podSelector", {}))
        elif where not in OUTSIDE:
            names.faults.append(f"{who}: no namespace `{where}`")
    return found


def policy(names, who, namespace, it):
    own = names.select(who, namespace, it["spec"]["podSelector"])
    for direction, end in (("ingress", "from"), ("egress", "to")):
        if direction.title() not in it["spec"]["policyTypes"] and direction in it["spec"]:
            names.faults.append(f"{who}: `policyTypes` does not name its {direction}")
        for rule in it["spec"].get(direction, []):
            others = peers(names, f"{who}, {direction}", namespace, rule.get(end, []))
            for port in rule.get("ports", []):
                names.port(who, own if direction == "ingress" else others, port["port"])


def binding(names, who, namespace, it):
    role = it["roleRef"]
    names.find(who, role["kind"], namespace if role["kind"] == "Role" else None, role["name"])
    for subject in it["subjects"]:
        names.find(who, subject["kind"], subject["namespace"], subject["name"])


def budget(names, who, namespace, it):
    names.select(who, namespace, it["spec"]["selector"])


KINDS = {
    "Service": service,
    "Ingress": ingress,
    "NetworkPolicy": policy,
    "RoleBinding": binding,
    "PodDisruptionBudget": budget,
}


def references(objects, made):
    """What is wrong with the names in these objects, and in pods that are made later."""
    names = Names(objects, made)
    for pods in names.pods:
        for check in (volumes, environment, confined, workload):
            check(names, pods)
    for (kind, namespace, name), it in names.objects.items():
        if kind in KINDS:
            KINDS[kind](names, f"{kind} {namespace}/{name}", namespace, it)
    unused = [key for key in names.objects if key[0] in USED and key not in names.used]
    return names.faults + [f"{kind} {namespace}/{name}: nobody uses it" for kind, namespace, name in unused]
