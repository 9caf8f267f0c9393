"""What a cell takes at a gateway: `1+1` local and at each gateway, with and without quick acknowledgement.

One run on one machine, all by the same binary, which take turns in blocks. husk asks the system to acknowledge at
once (TCP_QUICKACK); "without" is the same husk under a seccomp filter that answers this one wish with success and does
nothing, so that nothing else differs. Kernels are started without IPython's history everywhere, as husk starts its
own. Prints Markdown.

An Enterprise Gateway needs an older jupyter_client than the others, and so a Python environment of its own: it is
measured where there is one with jupyter_enterprise_gateway and ipykernel (--enterprise).
"""

import argparse
import ctypes
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from latency import ROOT, Husk, Place, call_times, percentile, shares, table

ME = Path(sys.argv[0]).stem
TOKEN = "token-of-the-bench"
PATIENCE = 60  # seconds until a gateway listens
# Calls that repeat themselves are meant here, and there is no user to protect from them.
FREE = {
    "HUSK_DEDUP_MODE": "off",
    "HUSK_LIMITS_REQUESTS_PER_MINUTE": "0",
    "HUSK_LIMITS_TOKENS_PER_HOUR": "0",
    "HUSK_LAUNCH_POOL": "0",
}
NO_HISTORY = "c.HistoryManager.enabled = False\n"
# seccomp: the processor as the filter sees it, and the number of setsockopt on it.
MACHINES = {"x86_64": (0xC000003E, 54), "aarch64": (0xC00000B7, 208)}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load a word, jump if it equals, return
ALLOW, SUCCESS = 0x7FFF0000, 0x00050000  # let it pass; do nothing and say 0
IPPROTO_TCP, TCP_QUICKACK = 6, 12

SERVERS = {
    "Jupyter Server": (
        "jupyter-server",
        "--ServerApp.ip=127.0.0.1 --ServerApp.port={port} --ServerApp.port_retries=0 --no-browser --allow-root "
        "--IdentityProvider.token={token} --ServerApp.root_dir={home}",
    ),
    "Kernel Gateway": (
        "jupyter-kernelgateway",
        "--KernelGatewayApp.ip=127.0.0.1 --KernelGatewayApp.port={port} --KernelGatewayApp.port_retries=0 "
        "--KernelGatewayApp.auth_token={token}",
    ),
    "Enterprise Gateway": (
        "jupyter-enterprisegateway",
        "--EnterpriseGatewayApp.ip=127.0.0.1 --EnterpriseGatewayApp.port={port} --EnterpriseGatewayApp.port_retries=0 "
        "--EnterpriseGatewayApp.auth_token={token}",
    ),
}


class Gateway:
    """One that listens."""

    def __init__(self, name, environment, place):
        program, arguments = SERVERS[name]
        self.port = free_port()
        words = arguments.format(port=self.port, token=TOKEN, home=place.cwd).split()
        # Its kernel is that of its environment, whatever else is installed.
        own = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}
        # An Enterprise Gateway starts no kernels for root otherwise.
        own["EG_UNAUTHORIZED_USERS"] = "nobody"
        log = open(os.path.join(place.cwd, f"{program}.log"), "w+")
        self.process = subprocess.Popen(
            [environment / "bin" / program, *words], env=place.env | own, cwd=place.cwd, stdout=log, stderr=log
        )
        end = time.monotonic() + PATIENCE
        while not listens(self.port):
            if self.process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                sys.exit(f"{ME}: {name} does not listen:\n{log.read()}")
            time.sleep(0.05)

    def settings(self):
        url = f"http://127.0.0.1:{self.port}"
        return {"HUSK_GATEWAY_URL": url, "HUSK_GATEWAY_TOKEN": TOKEN, "HUSK_SANDBOX_ISOLATION": "none"}

    def close(self):
        self.process.terminate()
        self.process.wait()


class Contender(Husk):
    """husk with its kernels there."""

    def __init__(self, name, command, place, settings, wrap=()):
        self.name = name
        own = Place(place.cwd)
        own.env = place.env | FREE | settings | {"HUSK_DATA_DIR": tempfile.mkdtemp(dir=place.cwd)}
        super().__init__([*wrap, *command], own)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def become_without_quick_acknowledgement(command):
    """Becomes that command, whose TCP_QUICKACK is answered with success and not done."""
    machine, setsockopt = MACHINES[platform.machine()]
    number, processor, level, option = 0, 4, 24, 32  # offsets in what the filter is shown
    steps = [
        (LOAD, 0, 0, processor), (EQUAL, 0, 7, machine),
        (LOAD, 0, 0, number), (EQUAL, 0, 5, setsockopt),
        (LOAD, 0, 0, level), (EQUAL, 0, 3, IPPROTO_TCP),
        (LOAD, 0, 0, option), (EQUAL, 0, 1, TCP_QUICKACK),
        (RETURN, 0, 0, SUCCESS),
        (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + 4 * [ctypes.c_ulong]
    for wish in [(PR_SET_NO_NEW_PRIVS, 1), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))]:
        if libc.prctl(*wish, *(5 - len(wish)) * [0]) != 0:
            sys.exit(f"{ME}: no filter of system calls: {os.strerror(ctypes.get_errno())}")
    prove_the_filter()
    os.execv(command[0], command)


def prove_the_filter():
    """Another option is set as ever; this one says so and is not."""
    with socket.socket() as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before = plain.getsockopt(socket.IPPROTO_TCP, TCP_QUICKACK)
        plain.setsockopt(socket.IPPROTO_TCP, TCP_QUICKACK, 1 - before)
        set_as_ever = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        if not set_as_ever or plain.getsockopt(socket.IPPROTO_TCP, TCP_QUICKACK) != before:
            sys.exit(f"{ME}: the filter of system calls does something else than it should")


def main():
    if sys.argv[1:2] == ["--become"]:
        become_without_quick_acknowledgement(sys.argv[2:])
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="gat") as folder:
        place = Place(folder)
        profile = Path(place.env["IPYTHONDIR"]) / "profile_default"
        profile.mkdir(parents=True)
        (profile / "ipython_kernel_config.py").write_text(NO_HISTORY)
        gateways = {name: Gateway(name, at, place) for name, at in environments(options).items()}
        contenders = [Contender("local", options.command, place, {})]
        for name, gateway in gateways.items():
            settings, become = gateway.settings(), [sys.executable, os.path.abspath(__file__), "--become"]
            contenders.append(Contender(name, options.command, place, settings))
            contenders.append(Contender(f"{name}, without", options.command, place, settings, become))
        kernels = {each.name: each.cell(KERNEL).strip("'") for each in contenders}
        calls = call_times(contenders, options)
        server = contenders[0].server
        for each in [*contenders, *gateways.values()]:
            each.close()
    report(options, server, kernels, calls)


KERNEL = "import ipykernel as k; assert not get_ipython().history_manager.enabled; k.__version__"


def parsed():
    parser = argparse.ArgumentParser(prog="tests/bench/gateways", description=__doc__.splitlines()[0])
    parser.add_argument("--husk", type=Path, default=ROOT / "target/release/husk", metavar="PATH", help="the binary")
    enterprise = ROOT / "target/test-enterprise"
    enterprise = enterprise if (enterprise / "bin" / SERVERS["Enterprise Gateway"][0]).exists() else None
    parser.add_argument("--enterprise", type=Path, default=enterprise, metavar="VENV", help="(default: %(default)s)")
    parser.add_argument("--calls", type=int, default=200, help="calls to each contender (default: %(default)s)")
    parser.add_argument("--block", type=int, default=20, help="calls before the next one's turn (default: %(default)s)")
    options = parser.parse_args()
    if not options.husk.exists():
        parser.error(f"no binary at {options.husk}; build it with: cargo build --release --locked")
    if platform.machine() not in MACHINES:
        parser.error(f"knows no system calls of {platform.machine()}, only of {', '.join(MACHINES)}")
    options.command = [str(options.husk.resolve()), "--python", sys.executable]
    return options


def environments(options):
    own = Path(sys.prefix)
    found = {"Jupyter Server": own, "Kernel Gateway": own}
    return found | ({"Enterprise Gateway": options.enterprise.absolute()} if options.enterprise else {})


def report(options, server, kernels, calls):
    load = " ".join(f"{share:.1f}" for share in os.getloadavg())
    print(f"\n{server['name']} {server['version']}, {os.cpu_count()} cores, load {load}\n")
    local = percentile(calls["local"], 50)
    rows = [
        [name, kernels[name], *shares(times), "–" if name == "local" else f"{percentile(times, 50) - local:+.2f}"]
        for name, times in calls.items()
    ]
    heads = ["ipykernel", "p50", "p90", "p99", "min", "p50 over local"]
    table(f"`1+1`, {options.calls} calls each, ms", heads, rows)


if __name__ == "__main__":
    main()
