"""What husk adds to a cell: `1+1` through husk, through jupyter_client, and through a bare ZeroMQ loop.

One run on one machine: each contender has a kernel of its own (same interpreter, same ipykernel, ipc), and they
take turns in blocks, so that whatever else the machine does meets all of them. The bare loop is the floor: it
does only what the protocol demands, and its time is nearly all the kernel's. Prints Markdown.

IPython's history costs about a millisecond a cell, and husk starts its kernels without it. So do the kernels of
the contenders that husk is compared with: otherwise the kernels would be compared, and husk would seem quicker
than the floor. What history costs stands in a row of its own.
"""

import argparse
import gc
import hashlib
import hmac
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import uuid
from importlib.metadata import version
from pathlib import Path

import zmq
from jupyter_client.manager import KernelManager

ME = Path(sys.argv[0]).stem
ROOT = Path(__file__).resolve().parents[2]
CODE = "1+1"
WARM_UP = 30
WITHOUT_HISTORY = "--HistoryManager.enabled=False"  # as in src/sandbox/launch.rs; `unequal` tells when it is not
# What must be the same in the kernels for their clients to be comparable.
KIND = """
import os, sys, ipykernel
[os.path.realpath(sys.prefix), sys.version, ipykernel.__version__, get_ipython().history_manager.enabled]
"""
PROTOCOL = "2025-11-25"


class Husk:
    """husk over stdio, spoken to in raw lines of JSON, so that the client costs next to nothing."""

    name = "husk (MCP over stdio)"

    def __init__(self, command, place):
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=place.log, env=place.env, cwd=place.cwd
        )
        self.last_id = 0
        self.server = self.ask(
            "initialize",
            {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": {"name": ME, "version": "1"}},
        )["serverInfo"]
        self.initialized = time.perf_counter()
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, params):
        self.last_id += 1
        self.send({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params})
        while line := self.process.stdout.readline():
            answer = json.loads(line)
            if answer.get("id") == self.last_id:
                if "result" not in answer:
                    sys.exit(f"{ME}: husk answered {method} with {answer}")
                return answer["result"]
        sys.exit(f"{ME}: husk ended during {method}; its log is above")

    def cell(self, code):
        # The same cell five hundred times is meant: a loop guard must not take it for a stuck agent.
        params = {"name": "notebook_run_cell", "arguments": {"code": code}, "_meta": {"allow_repeat": True}}
        result = self.ask("tools/call", params)
        if result.get("isError"):
            sys.exit(f"{ME}: husk failed a cell: {result}")
        return result["content"][0]["text"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Kernel:
    """A kernel of its own for a contender, started by jupyter_client with the options that husk gives its own."""

    options = [WITHOUT_HISTORY]

    def __init__(self, place):
        self.manager = KernelManager(transport="ipc")
        self.manager.ip = os.path.join(tempfile.mkdtemp(dir=place.cwd), "k")
        self.manager.kernel_spec.argv[0] = sys.executable
        self.manager.kernel_spec.argv += self.options
        self.manager.start_kernel(env=place.env, cwd=place.cwd, stdout=place.log, stderr=place.log)

    def close(self):
        self.manager.shutdown_kernel(now=True)


class JupyterClient(Kernel):
    """jupyter_client, the way its documentation runs code."""

    name = f"jupyter_client {version('jupyter_client')}"

    def __init__(self, place):
        super().__init__(place)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready()

    def cell(self, code):
        outputs = []
        self.client.execute_interactive(code, allow_stdin=False, output_hook=outputs.append)
        result = next(message for message in outputs if message["msg_type"] == "execute_result")
        return result["content"]["data"]["text/plain"]

    def close(self):
        self.client.stop_channels()
        super().close()


class JupyterClientAsItComes(JupyterClient):
    """jupyter_client with a kernel as it comes: not comparable, but what one has without doing anything."""

    name = JupyterClient.name + ", history on (the default)"
    options = []


class BareLoop(Kernel):
    """Two sockets and hand-built signed messages; waits for the reply and for idle."""

    name = "bare pyzmq loop"

    def __init__(self, place):
        super().__init__(place)
        client = self.manager.blocking_client()
        client.start_channels()
        client.wait_for_ready()
        client.stop_channels()
        self.key = self.manager.session.key
        self.session = uuid.uuid4().hex
        self.context = zmq.Context()
        self.shell = self.socket(zmq.DEALER, self.manager.shell_port)
        self.iopub = self.socket(zmq.SUB, self.manager.iopub_port)
        self.iopub.subscribe(b"")
        # Ask until the answer comes on iopub too: a subscription takes effect when it likes.
        while not self.iopub.poll(100):
            self.execute("")
            self.shell.recv_multipart()
        while self.iopub.poll(200):
            self.iopub.recv_multipart()

    def socket(self, kind, port):
        socket = self.context.socket(kind)
        socket.rcvtimeo = 30_000  # ms: a lost message must end the run, not hang it
        socket.connect(f"ipc://{self.manager.ip}-{port}")
        return socket

    def execute(self, code):
        request = uuid.uuid4().hex
        header = {"msg_id": request, "session": self.session, "username": "", "date": "2026-01-01T00:00:00Z"}
        header |= {"msg_type": "execute_request", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": False, "stop_on_error": True}
        parts = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        signature = hmac.new(self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        self.shell.send_multipart([b"<IDS|MSG>", signature, *parts])
        return request.encode()

    def cell(self, code):
        request, answer = self.execute(code), None
        while True:
            _topic, _mark, _signature, header, parent, _metadata, content, *_ = self.iopub.recv_multipart()
            if request not in parent:
                continue
            if b'"execute_result"' in header:
                answer = json.loads(content)["data"]["text/plain"]
            elif b'"status"' in header and b'"idle"' in content:
                break
        while request not in self.shell.recv_multipart()[3]:
            pass
        return answer

    def close(self):
        self.context.destroy(linger=0)
        super().close()


class Place:
    """An empty home and working folder for everything that is measured, gone afterwards."""

    def __init__(self, folder):
        self.cwd = folder
        self.log = sys.stderr
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HUSK_")}
        self.env |= {"HOME": folder, "IPYTHONDIR": os.path.join(folder, "ipython")}


def main():
    options = parsed()
    if options.realtime:
        # Inherited by everything started from here, so it favours no contender.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(5))
    with tempfile.TemporaryDirectory(prefix="lat") as folder:
        place = Place(folder)
        husk = Husk(options.command, place)
        contenders = [husk, JupyterClient(place), BareLoop(place)]
        if difference := unequal(contenders):
            sys.exit(f"{ME}: these kernels are not the same, so their clients cannot be compared: {difference}")
        contenders.append(JupyterClientAsItComes(place))
        calls = call_times(contenders, options)
        server = husk.server
        for contender in contenders:
            contender.close()
        starts = [start_times(options.command, place) for _ in range(options.spawns)]
        memory = memory_of(options.command, place)
    report(options, server, calls, starts, memory)


def parsed():
    parser = argparse.ArgumentParser(prog="tests/bench/latency", description=__doc__.splitlines()[0])
    parser.add_argument("--husk", type=Path, default=ROOT / "target/release/husk", metavar="PATH", help="the binary")
    parser.add_argument("--calls", type=int, default=500, help="calls to each contender (default: %(default)s)")
    parser.add_argument("--block", type=int, default=50, help="calls before the next one's turn (default: %(default)s)")
    parser.add_argument("--spawns", type=int, default=20, help="starts of husk (default: %(default)s)")
    parser.add_argument("--realtime", action="store_true", help="as root: schedule all of it before other work")
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="more arguments for husk, after `--`")
    options = parser.parse_args()
    if not options.husk.exists():
        parser.error(f"no binary at {options.husk}; build it with: cargo build --release --locked")
    options.command = [str(options.husk.resolve()), *options.arguments, "--python", sys.executable]
    return options


def unequal(contenders):
    kinds = {contender.name: contender.cell(KIND) for contender in contenders}
    return kinds if len(set(kinds.values())) > 1 else None


def call_times(contenders, options):
    """Milliseconds of every call, by contender's name. Each round another contender begins."""
    for contender in contenders:
        for _ in range(WARM_UP):
            contender.cell(CODE)
    times = {contender.name: [] for contender in contenders}
    gc.disable()
    for turn in range(-(-options.calls // options.block)):
        first = turn % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            left = options.calls - len(times[contender.name])
            times[contender.name] += [call_time(contender) for _ in range(min(options.block, left))]
        gc.collect()
    gc.enable()
    return times


def call_time(contender):
    begun = time.perf_counter()
    answer = contender.cell(CODE)
    took = (time.perf_counter() - begun) * 1000
    if answer != "2":
        sys.exit(f"{ME}: {contender.name} says that {CODE} is {answer!r}")
    return took


def start_times(command, place):
    """From spawn to the answer to `initialize`, and to the answer of the first cell, in milliseconds."""
    husk = Husk(command, place)
    husk.cell(CODE)
    answered = time.perf_counter()
    husk.close()
    return (husk.initialized - husk.begun) * 1000, (answered - husk.begun) * 1000


def memory_of(command, place):
    """Resident kB of the server, its helpers and its kernel: before the first cell, and idle after it."""
    husk = Husk(command, place)
    husk.ask("tools/list", {})
    before = resident(husk.process.pid, None)
    kernel = int(husk.cell("import os; os.getpid()"))
    after = resident(husk.process.pid, kernel)
    husk.close()
    return before, after


def resident(server, kernel):
    """`kernel` is the process id that the kernel knows itself by, in its own namespace."""
    kinds = {"server": status(server)["VmRSS"], "helpers": 0, "kernel": 0, "helper processes": 0}
    for process in descendants(server):
        facts = status(process)
        is_kernel = kernel is not None and facts["NSpid"] == kernel and "python" in facts["Name"]
        kinds["kernel" if is_kernel else "helpers"] += facts["VmRSS"]
        kinds["helper processes"] += not is_kernel
    return kinds


def descendants(process):
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from descendants(int(child))


def status(process):
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    facts = dict(line.split(":", 1) for line in lines)
    return {
        "Name": facts["Name"].strip(),
        "VmRSS": int(facts.get("VmRSS", "0 kB").split()[0]),
        "NSpid": int(facts["NSpid"].split()[-1]),
    }


def report(options, server, calls, starts, memory):
    print(f"\n{conditions(options, server)}\n")
    floor = percentile(calls[BareLoop.name], 50)
    rows = [call_row(name, times, floor) for name, times in calls.items()]
    table(f"`{CODE}`, {options.calls} calls each, ms", ["p50", "p90", "p99", "min", "p50 over the bare loop"], rows)
    moments = ["spawn to the answer to `initialize`", "spawn to the first cell's answer"]
    rows = [[name, *shares(times)] for name, times in zip(moments, zip(*starts))]
    table(f"start of husk, {options.spawns} times, ms", ["p50", "p90", "p99", "min"], rows)
    rows = [memory_row(when, kinds) for when, kinds in zip(["before the first cell", "idle after a cell"], memory)]
    table("resident memory, MiB", ["husk", "its helpers", "kernel"], rows)


def conditions(options, server):
    load = " ".join(f"{share:.1f}" for share in os.getloadavg())
    return (
        f"{server['name']} {server['version']}, ipykernel {version('ipykernel')}, pyzmq {zmq.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load}"
        + (", SCHED_RR" if options.realtime else "")
    )


def call_row(name, times, floor):
    over = percentile(times, 50) - floor
    return [name, *shares(times), "–" if name == BareLoop.name else f"{over:+.2f}"]


def memory_row(when, kinds):
    processes = kinds["helper processes"]
    helpers = f"{mib(kinds['helpers'])} in {processes}" if processes else "none"
    return [when, mib(kinds["server"]), helpers, mib(kinds["kernel"]) if kinds["kernel"] else "–"]


def shares(times):
    return [f"{percentile(times, share):.2f}" for share in (50, 90, 99)] + [f"{min(times):.2f}"]


def percentile(times, share):
    """Nearest rank: a value that was measured."""
    ranked = sorted(times)
    return ranked[max(0, -(-len(ranked) * share // 100) - 1)]


def mib(kilobytes):
    return f"{kilobytes / 1024:.1f}"


def table(title, heads, rows):
    print(f"| {title} | {' | '.join(heads)} |")
    print(f"|---|{'---:|' * len(heads)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print()


if __name__ == "__main__":
    main()
