"""How far one server goes: scale.py HUSK_BINARY [SESSIONS…] prints Markdown for 1, 8, 32, 64 and 128 live sessions.

One `husk serve --http`, as it is installed but for the guards, which would refuse a thousand equal cells, and the bounds
of kernels. Each session has a kernel of its own and a client of its own, which speaks raw HTTP, so that it costs little;
it shares the processors with what is measured all the same, so its part is shown.

Settings in the caller's environment hold as well: with HUSK_STORE_URL, HUSK_SHARED_REDIS_URL or HUSK_GATEWAY_URL it shows
what that part costs. At each number of sessions: how fast they start (eight at a time), what they take when nobody asks
anything, how fast `1+1` is answered when one asks at a time, each time another session, and when all ask at once, again
and again.
"""

import asyncio
import json
import os
import platform
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ME = Path(sys.argv[0]).stem
STEPS = (1, 8, 32, 64, 128)
AT_ONCE = 8
# Enough for the ninth of ten, in a time that somebody waits for.
CALLS_ALONE, CALLS_TOGETHER = 200, 2000
MIB = 1 << 20
SETTINGS = {
    "HUSK_DEDUP_MODE": "off",
    "HUSK_LIMITS_REQUESTS_PER_MINUTE": "0",
    "HUSK_LIMITS_TOKENS_PER_HOUR": "0",
    "HUSK_HTTP_REQUESTS_PER_MINUTE": "0",
    "HUSK_HTTP_MAX_KERNELS": "1000",
    "HUSK_CELLS_MAX_SESSIONS": "1000",
    "HUSK_SESSIONS_KEEP_ALIVE": "0",
    "HUSK_LAUNCH_POOL": "0",
}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": ME, "version": "1"}}


class Client:
    """One user's host: a connection and an MCP session, and a notebook session of its own."""

    def __init__(self, at, number):
        self.at, self.session, self.mcp, self.last = at, f"s{number}", "", 0

    async def open(self):
        host, port = self.at.split(":")
        self.reader, self.writer = await asyncio.open_connection(host, int(port))
        head, _ = await self.post({"id": 0, "method": "initialize", "params": HELLO})
        self.mcp = re.search(rb"mcp-session-id: (\S+)", head, re.IGNORECASE)[1].decode()
        await self.post({"method": "notifications/initialized"})

    async def post(self, message):
        body = json.dumps({"jsonrpc": "2.0", **message})
        session = f"Mcp-Session-Id: {self.mcp}\r\nMCP-Protocol-Version: 2025-11-25\r\n" if self.mcp else ""
        self.writer.write(
            f"POST /mcp HTTP/1.1\r\nHost: {self.at}\r\nContent-Type: application/json\r\n{session}"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        if b"chunked" not in head:
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            return head, await self.reader.readexactly(int(length[1]) if length else 0)
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()
        return head, body

    async def cell(self):
        """The seconds until `1+1` was answered."""
        self.last += 1
        call = {"name": "notebook_run_cell", "arguments": {"code": "1+1", "session": self.session}}
        begin = time.perf_counter()
        _, body = await self.post({"id": self.last, "method": "tools/call", "params": call})
        took = time.perf_counter() - begin
        if b'"status":"ok"' not in body:
            sys.exit(f"{ME}: husk failed a cell: {body.decode()}")
        return took


def family(pid):
    """A process and all that it has started."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(") ", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def memory(pid):
    """Bytes of a process, of what it shares its share; where that may not be seen, all that it has mapped."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(re.search(r"^Pss: +(\d+)", text, re.MULTILINE)[1]) * 1024
    except PermissionError:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def processor(pid):
    """Seconds that a process has worked."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def available():
    return int(re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024


def percentile(all_, part):
    return sorted(all_)[min(len(all_) - 1, int(len(all_) * part))] * 1000


async def grown(clients, at, count):
    """Starts sessions until there are so many; how many a second."""
    fresh = [Client(at, number) for number in range(len(clients), count)]
    turn = asyncio.Semaphore(AT_ONCE)

    async def start(client):
        async with turn:
            await client.open()
            await client.cell()

    begin = time.perf_counter()
    await asyncio.gather(*(start(client) for client in fresh))
    clients += fresh
    return len(fresh) / (time.perf_counter() - begin)


async def alone(clients):
    return [await clients[turn % len(clients)].cell() for turn in range(CALLS_ALONE)]


async def together(clients, pid):
    """All at once: the times, calls a second, and the milliseconds of processor that a call takes of whom."""
    each = max(5, CALLS_TOGETHER // len(clients))
    own = family(pid)
    before = [processor(it) for it in own]
    mine, begin = time.process_time(), time.perf_counter()

    async def ask(client):
        return [await client.cell() for _ in range(each)]

    took = sum(await asyncio.gather(*(ask(client) for client in clients)), [])
    seconds, mine = time.perf_counter() - begin, time.process_time() - mine
    worked = [processor(it) - old for it, old in zip(own, before)]
    parts = [part * 1000 / len(took) for part in (worked[0], sum(worked[1:]), mine)]
    return took, len(took) / seconds, parts


async def step(clients, at, pid, count):
    """One line of the table; the processes, what they take in memory, and what a call takes of a processor."""
    starts = await grown(clients, at, count)
    # What a start has left to do is done when nothing works any more.
    await still(family(pid))
    own = family(pid)
    husk, kernels = memory(pid), sum(memory(it) for it in own[1:])
    quiet = await alone(clients)
    took, rate, parts = await together(clients, pid)
    print(
        f"| {count} | {starts:.1f} | {husk / MIB:.0f} | {kernels / count / MIB:.1f} "
        f"| {percentile(quiet, 0.5):.1f} | {percentile(quiet, 0.9):.1f} | {rate:.0f} | {percentile(took, 0.5):.0f} "
        f"| {percentile(took, 0.9):.0f} | {' / '.join(f'{part:.1f}' for part in parts)} |",
        flush=True,
    )
    return own, husk + kernels, sum(parts[:2])


async def still(own):
    """Waits until a process and what it has started have worked for less than a hundredth of a second in one."""
    worked = sum(processor(it) for it in own)
    while True:
        await asyncio.sleep(1)
        now = sum(processor(it) for it in own)
        if now - worked < 0.01 * len(own):
            return
        worked = now


def bounds(count, own, taken, call, gone):
    """For how much of each thing that sessions take this machine is enough: the least runs out first."""
    pid = own[0]
    tasks = sum(len(os.listdir(f"/proc/{it}/task")) for it in own[1:]) / count
    files = len(os.listdir(f"/proc/{pid}/fd")) / count
    limits = Path(f"/proc/{pid}/limits").read_text()
    most_files = int(re.search(r"Max open files +\S+ +(\d+)", limits)[1])
    most_tasks = int(Path("/proc/sys/kernel/pid_max").read_text())
    session, whole = taken / count / MIB, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / MIB
    work = os.cpu_count() * 1000
    print("\n| what runs out | one takes | there is | enough for |\n|---|---:|---:|---:|")
    print(f"| processors | {call:.1f} ms a call | {work} ms a second | {work / call:.0f} calls a second |")
    print(f"| memory | {session:.0f} MiB a session | {whole:.0f} MiB | {whole / session:.0f} idle sessions |")
    print(f"| open files of husk | {files:.1f} a session | {most_files} | {most_files / files:.0f} sessions |")
    print(f"| processes and threads | {tasks:.1f} a session | {most_tasks} | {most_tasks / tasks:.0f} sessions |")
    print(f"\nBy the machine's own count a session took {gone / count / MIB:.0f} MiB, with whatever else was begun meanwhile.")


def begin(binary, data, workspace):
    env = {**os.environ, **SETTINGS, "HUSK_DATA_DIR": data}
    command = [binary, "serve", "--http", "127.0.0.1:0", "--python", sys.executable]
    process = subprocess.Popen(command, env=env, cwd=workspace, stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    listens = re.search(r"http://([\d.:]+)/mcp", line)
    if not listens:
        sys.exit(f"{ME}: husk does not listen: {line}{process.stderr.read()}")
    # A pipe that nobody reads would stop it.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process, listens[1]


async def main(binary, steps):
    load = ", ".join(f"{it:.1f}" for it in os.getloadavg())
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{version}, {os.cpu_count()} processors, Linux {platform.release()}; load before: {load}\n")
    # Their values may be secrets.
    if given := sorted(name for name in os.environ if name.startswith("HUSK_") and "_TEST_" not in name):
        print(f"With {', '.join(given)}.\n")
    print(
        "| sessions | starts/s | husk MiB | a kernel MiB | alone p50 ms | p90 ms "
        "| all at once: calls/s | p50 ms | p90 ms | processor ms a call: husk / kernel / client |"
    )
    print("|" + "---:|" * 10)
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as workspace:
        process, at = begin(binary, data, workspace)
        try:
            clients, empty = [], available()
            for count in steps:
                took = await step(clients, at, process.pid, count)
            if "HUSK_GATEWAY_URL" not in os.environ:
                bounds(steps[-1], *took, empty - available())
        finally:
            ends = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            process.wait()
        print(f"All of them had ended {time.perf_counter() - ends:.1f} s after SIGTERM.")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], [int(it) for it in sys.argv[2:]] or STEPS))
