"""Measures `1 + 1` by every way to husk in one run, and calls a second of many clients: over_http.py HUSK_BINARY [CALLS]

Prints a Markdown table. The peer is a Python FastMCP server that drives the same ipykernel by jupyter_client; it is
written here, and has no isolation, no guards and no record. Needs the packages of tests/requirements.txt; the
kernel's interpreter is the one that runs this.
"""

import asyncio
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client

CLIENTS = (1, 8, 64)
PEER = """
import asyncio
import sys
from jupyter_client.manager import start_new_async_kernel
from mcp.server import MCPServer

server = MCPServer("peer")
kernel = None
one = asyncio.Lock()


@server.tool()
async def run(code: str) -> str:
    global kernel
    said = []
    hook = lambda message: said.append(message["content"].get("text", "") or str(message["content"].get("data", "")))
    # Two at once would read each other's messages.
    async with one:
        if kernel is None:
            kernel = (await start_new_async_kernel())[1]
        await kernel.execute_interactive(code, output_hook=hook)
    return "".join(said)


server.run(transport="streamable-http", port=int(sys.argv[1]))
"""
FREE = {
    "HUSK_DEDUP_MODE": "off",
    "HUSK_LIMITS_REQUESTS_PER_MINUTE": "0",
    "HUSK_LIMITS_TOKENS_PER_HOUR": "0",
    "HUSK_HTTP_REQUESTS_PER_MINUTE": "0",
    "HUSK_SESSIONS_KEEP_ALIVE": "0",
    "HUSK_CELLS_MAX_QUEUED": "10000",
}


async def latency(client, calls, tool="notebook_run_cell"):
    await client.call_tool(tool, {"code": "1 + 1"})
    took = []
    for _ in range(calls):
        begin = time.perf_counter()
        await client.call_tool(tool, {"code": "1 + 1"})
        took.append((time.perf_counter() - begin) * 1000)
    took.sort()
    return statistics.median(took), took[int(len(took) * 0.99)]


async def rate(connect, count, calls, tool="notebook_run_cell"):
    """Calls a second of so many clients, which share one kernel, and a session that is fresh: its notebook is short."""
    call = {"code": "1 + 1"}
    if tool == "notebook_run_cell":
        call["session"] = f"rate-{count}-{time.monotonic_ns()}"
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect()) for _ in range(count)]

        async def work(client):
            for _ in range(max(1, calls // count)):
                await client.call_tool(tool, call)

        await work(clients[0])
        begin = time.perf_counter()
        await asyncio.gather(*(work(client) for client in clients))
        return max(1, calls // count) * count / (time.perf_counter() - begin)


@contextlib.contextmanager
def served(binary, data):
    command = [binary, "serve", "--http", "127.0.0.1:0", "--sse", "--python", sys.executable]
    env = {**os.environ, **FREE, "HUSK_DATA_DIR": data}
    with tempfile.TemporaryDirectory() as workspace:
        process = subprocess.Popen(command, env=env, cwd=workspace, stderr=subprocess.PIPE, text=True)
        try:
            yield re.search(r"http://([\d.:]+)/mcp", process.stderr.readline())[1]
        finally:
            process.terminate()
            process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def peer(port):
    process = subprocess.Popen([sys.executable, "-c", PEER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not listens(port):
            if process.poll() is not None:
                raise SystemExit("the peer has ended")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        process.wait()


def row(name, middle, late, rates=()):
    cells = [name, f"{middle:.1f}", f"{late:.1f}", *(f"{it:.0f}" for it in rates)]
    cells += [""] * (3 + len(CLIENTS) - len(cells))
    print("| " + " | ".join(cells) + " |", flush=True)


async def main(binary, calls=200):
    calls = int(calls)
    rates = (f"calls/s, {n} client{'s' if n > 1 else ''}" for n in CLIENTS)
    print("| way | p50 ms | p99 ms | " + " | ".join(rates) + " |")
    print("|---|" + "---:|" * (2 + len(CLIENTS)))
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as workspace:
        env = {**os.environ, **FREE, "HUSK_DATA_DIR": data}
        parameters = StdioServerParameters(
            command=binary, args=["--python", sys.executable], env=env, cwd=workspace
        )
        async with Client(stdio_client(parameters)) as client:
            one = await latency(client, calls)
            row("husk, stdio", *one, [await rate(lambda: contextlib.nullcontext(client), 1, calls)])
    with tempfile.TemporaryDirectory() as data, served(binary, data) as at:
        for name, mode in (("husk, HTTP 2025-11-25", "legacy"), ("husk, HTTP 2026-07-28", "auto")):
            connect = lambda: Client(f"http://{at}/mcp", mode=mode)
            async with connect() as client:
                one = await latency(client, calls)
            row(name, *one, [await rate(connect, n, calls) for n in CLIENTS])
        connect = lambda: Client(sse_client(f"http://{at}/sse"), mode="legacy")
        async with connect() as client:
            one = await latency(client, calls)
        row("husk, SSE", *one, [await rate(connect, n, calls) for n in CLIENTS])
    with peer(free_port()) as url:
        connect = lambda: Client(url, mode="legacy")
        async with connect() as client:
            one = await latency(client, calls, "run")
        row("FastMCP and jupyter_client, HTTP", *one, [await rate(connect, n, calls, "run") for n in CLIENTS])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
