"""A stand-in for Kubernetes' API server, in which pods are processes: api_server.py CERTIFICATE KEY RULES PYTHON LAUNCHER

It does what an Enterprise Gateway asks for, to whom it may: RULES are those of its Role, as JSON with the namespace. A
pod is taken if it has the form that the real one wants, and then is LAUNCHER, run by PYTHON with the pod's variables,
as the kernel's image would do. Needs the packages of tests/kubernetes.txt. Says what happens on standard output, line by
line: `listens PORT`, `created NAME`, `deleted NAME`, `denied WHAT`, `invalid WHY`.
"""

import http.server
import json
import re
import ssl
import subprocess
import sys
import threading
import urllib.parse

import kubernetes_validate

VERBS = {"GET": "list", "POST": "create", "DELETE": "delete"}
TOKEN = "account-of-the-gateway"
# What launch_ipykernel.py is told by its image's bootstrap-kernel.sh.
TOLD = {
    "--kernel-id": "KERNEL_ID",
    "--port-range": "PORT_RANGE",
    "--response-address": "RESPONSE_ADDRESS",
    "--public-key": "PUBLIC_KEY",
}


def say(*words):
    print(*words, flush=True)


class Pods:
    """All pods, each with its process."""

    def __init__(self, python, launcher):
        self.command, self.all = [python, launcher, "--spark-context-initialization-mode", "none"], {}

    def create(self, pod):
        kubernetes_validate.validate(pod, "1.37", strict=True)
        name = pod["metadata"]["name"]
        env = {it["name"]: it.get("value", "") for it in pod["spec"]["containers"][0]["env"]}
        # The image has a Python of its own.
        env.pop("PYTHONPATH", None)
        words = [word for option, variable in TOLD.items() for word in (option, env[variable])]
        process = subprocess.Popen(self.command + words, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.all[name] = (pod, process)
        say("created", name)
        return self.shown(name)

    def shown(self, name):
        pod, process = self.all[name]
        phase = {None: "Running", 0: "Succeeded"}.get(process.poll(), "Failed")
        return {**pod, "status": {"phase": phase, "podIP": "127.0.0.1", "hostIP": "127.0.0.1"}}

    def matching(self, labels):
        wanted = dict(it.split("=") for it in labels.split(","))
        fits = lambda pod: wanted.items() <= pod["metadata"]["labels"].items()
        return [self.shown(name) for name, (pod, _) in self.all.items() if fits(pod)]

    def delete(self, name):
        _, process = self.all[name]
        process.kill()
        process.wait()
        shown = self.shown(name)
        del self.all[name]
        say("deleted", name)
        return shown


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def status(self, code, reason, message=""):
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code}
        self.answer(code, told)

    def may(self, place):
        rules, verb = self.server.rules, VERBS[self.command]
        granted = any(place[1] in rule["resources"] and verb in rule["verbs"] for rule in rules["rules"])
        known = self.headers.get("Authorization") == f"bearer {TOKEN}"
        return known and place[0] == rules["namespace"] and granted

    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlparse(self.path)
        place = re.fullmatch(r"/api/v1/namespaces/([^/]+)/([^/]+)(?:/([^/]+))?", url.path)
        if not place or not self.may(place.groups()):
            say("denied", self.command, self.path)
            return self.status(403, "Forbidden")
        with self.server.one:
            self.done(self.server.pods, place[3], url.query, body)

    def done(self, pods, name, query, body):
        if self.command == "POST":
            try:
                return self.answer(201, pods.create(json.loads(body)))
            except kubernetes_validate.ValidationError as error:
                say("invalid", error.message)
                return self.status(422, "Invalid", error.message)
        if self.command == "DELETE":
            return self.answer(200, pods.delete(name)) if name in pods.all else self.status(404, "NotFound")
        labels = urllib.parse.parse_qs(query)["labelSelector"][0]
        return self.answer(200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods.matching(labels)})

    do_GET = do_POST = do_DELETE = do


def main(certificate, key, rules, python, launcher):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.one = True, threading.Lock()
    server.rules, server.pods = json.loads(rules), Pods(python, launcher)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    say("listens", server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Until whoever started it has gone; then its pods go too.
    sys.stdin.read()
    for _, process in server.pods.all.values():
        process.kill()


if __name__ == "__main__":
    main(*sys.argv[1:])
