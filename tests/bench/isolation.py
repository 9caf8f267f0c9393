"""What isolation costs: the start of a kernel and `1+1` at each level, and twenty sessions at once.

`ready` is the strongest level with a kernel that waits for the next session (`launch.pool`); CPU time and memory are
those of the one that comes in its place.

One run on one machine: each level has a server of its own, and they take turns, so that whatever else the machine
does meets all of them. A start is a new session in a running server, from the request to the answer of its first
cell. Its CPU time is that of all processes which came with it, its memory is their proportional set size (what
several processes share is divided among them). Prints Markdown.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from latency import CODE, ME, ROOT, WARM_UP, Husk, Place, call_time, conditions, descendants, mib, percentile, table

LEVELS = ["none", "landlock", "namespaces", "ready"]
TICK = os.sysconf("SC_CLK_TCK")
BLOCK = 50


class Level(Husk):
    def __init__(self, name, command, place):
        self.name = name
        self.pooled = name == "ready"
        self.level = "namespaces" if self.pooled else name
        place.env |= {"HUSK_SANDBOX_ISOLATION": self.level, "HUSK_LAUNCH_POOL": str(int(self.pooled))}
        place.env |= {"HUSK_LIMITS_REQUESTS_PER_MINUTE": "0", "HUSK_LIMITS_TOKENS_PER_HOUR": "0"}
        place.env |= {"HUSK_CELLS_MAX_SESSIONS": "1000", "HUSK_SESSIONS_KEEP_ALIVE": "0"}
        super().__init__(command, place)
        self.sessions = 0
        for _ in range(WARM_UP):
            self.cell(CODE)
        self.check()

    def status(self):
        return self.ask("tools/call", {"name": "sandbox_status", "arguments": {}})["structuredContent"]

    def check(self):
        levels = {session["isolation"] for session in self.status()["sessions"]}
        if levels != {self.level}:
            sys.exit(f"{ME}: asked for isolation `{self.level}`, got {levels}")

    def settle(self):
        """Waits until a kernel is ready, where one shall be."""
        while self.pooled and not self.status().get("ready"):
            time.sleep(0.01)

    def begin(self):
        """Asks for a new session's first cell; the request's id."""
        self.last_id += 1
        self.sessions += 1
        arguments = {"code": CODE, "session": f"s{self.sessions}"}
        params = {"name": "notebook_run_cell", "arguments": arguments, "_meta": {"allow_repeat": True}}
        self.send({"jsonrpc": "2.0", "id": self.last_id, "method": "tools/call", "params": params})
        return self.last_id

    def start(self):
        """Milliseconds until a new session has answered, milliseconds of CPU, and kB of memory."""
        self.settle()
        before = set(descendants(self.process.pid))
        begun = time.perf_counter()
        self.wait({self.begin()})
        took = (time.perf_counter() - begun) * 1000
        self.settle()
        came = set(descendants(self.process.pid)) - before
        return took, sum(map(cpu, came)), sum(map(memory, came))

    def many(self, count):
        """Milliseconds until so many sessions, begun at once, have answered, and kB of memory of each."""
        before = set(descendants(self.process.pid))
        begun = time.perf_counter()
        self.wait({self.begin() for _ in range(count)})
        took = (time.perf_counter() - begun) * 1000
        came = set(descendants(self.process.pid)) - before
        return took, sum(map(memory, came)) / count

    def wait(self, requests):
        """Reads until all of these requests are answered, each with the cell's result."""
        while requests and (line := self.process.stdout.readline()):
            answer = json.loads(line)
            if answer.get("id") in requests:
                if answer.get("result", {}).get("content", [{}])[0].get("text") != "2":
                    sys.exit(f"{ME}: a new session's first cell was answered with {answer}")
                requests.remove(answer["id"])
        if requests:
            sys.exit(f"{ME}: husk ended; its log is above")


def cpu(process):
    """Milliseconds of CPU that a process and its children which have ended took."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) * 1000 / TICK


def memory(process):
    """Proportional set size in kB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main():
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="iso") as folder:
        levels = [Level(name, options.command, Place(folder)) for name in options.levels]
        starts = {level: [] for level in levels}
        for _ in range(options.starts):
            for level in levels:
                starts[level].append(level.start())
        calls = {level: [] for level in levels}
        for _ in range(options.calls // BLOCK):
            for level in levels:
                calls[level] += [call_time(level) for _ in range(BLOCK)]
        many = {level: level.many(options.sessions) for level in levels}
        server = levels[0].server
        for level in levels:
            level.close()
    report(options, server, starts, calls, many)


def parsed():
    parser = argparse.ArgumentParser(prog="tests/bench/isolation", description=__doc__.splitlines()[0])
    parser.add_argument("--husk", type=Path, default=ROOT / "target/release/husk", metavar="PATH", help="the binary")
    parser.add_argument("--starts", type=int, default=20, help="new sessions at each level (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=500, help="calls at each level (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=20, help="sessions at once (default: %(default)s)")
    parser.add_argument("--levels", nargs="+", default=LEVELS, metavar="LEVEL", help="default: all")
    options = parser.parse_args()
    options.realtime = False
    if not options.husk.exists():
        parser.error(f"no binary at {options.husk}; build it with: cargo build --release --locked")
    options.command = [str(options.husk.resolve()), "--python", sys.executable]
    return options


def report(options, server, starts, calls, many):
    print(f"\n{conditions(options, server)}\n")
    heads = ["p50", "p90", "to the first", "CPU, ms", "memory, MiB"]
    first = next(iter(starts.values()))
    rows = [start_row(level, measured, first) for level, measured in starts.items()]
    table(f"start of a kernel, {options.starts} times, ms", heads, rows)
    floor = percentile(next(iter(calls.values())), 50)
    rows = [[level.name, *spread(times), f"{percentile(times, 50) / floor:.2f}"] for level, times in calls.items()]
    table(f"`{CODE}`, {options.calls} times, ms", ["p50", "p90", "to the first"], rows)
    rows = [[level.name, f"{took:.0f}", mib(kilobytes)] for level, (took, kilobytes) in many.items()]
    table(f"{options.sessions} sessions at once", ["all have answered, ms", "memory of each, MiB"], rows)


def start_row(level, measured, first):
    times, cpus, memories = zip(*measured)
    ratio = percentile(times, 50) / percentile([took for took, *_ in first], 50)
    cells = [*spread(times), f"{ratio:.2f}", f"{percentile(cpus, 50):.0f}", mib(percentile(memories, 50))]
    return [level.name, *cells]


def spread(times):
    return [f"{percentile(times, share):.2f}" for share in (50, 90)]


if __name__ == "__main__":
    main()
