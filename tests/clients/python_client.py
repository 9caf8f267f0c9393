"""Judges husk with the official Python MCP client: python_client.py HUSK_BINARY [ARG…], or python_client.py URL [ERA]

The client negotiates the newest protocol that both know, over HTTP also that of another ERA (`legacy`); a URL that
ends with /sse is of the older transport. Prints one line of JSON: {"ok": true, …} and exits 0,
or {"ok": false, "wrong": …} and exits 1. The kernel's interpreter is HUSK_TEST_PYTHON.
"""

import asyncio
import base64
import json
import os
import sys
import time
from importlib.metadata import version

from mcp import Client, StdioServerParameters, stdio_client
from mcp.client.sse import sse_client

TOOLS = {"notebook_run_cell", "sandbox_status", "usage"}
PNG = b"\x89PNG\r\n\x1a\n"
PLOT = """
%matplotlib inline
import matplotlib.pyplot as plt
plt.plot([1, 4, 9])
plt.show()
"""
# The pauses are the cell's work: output that comes in pieces is what progress is about.
SLOW = """
import time
for part in range(4):
    print("part", part, flush=True)
    time.sleep(0.3)
"""
HANG = """
import time
print("started", flush=True)
time.sleep(30)
"""
SOON = 5.0  # seconds: what an agent should wait at most for its next cell after a cancelled one
ANSWER = 60.0  # seconds: a call that takes longer is lost (what the TypeScript client takes by default)
WHOLE = 150.0  # seconds: longer than all of this takes on a slow machine


class Wrong(Exception):
    """What the server did, and what was expected."""


def expect(fact, what, got):
    if not fact:
        raise Wrong(f"expected {what}, got {got!r}")


async def verdict(judged):
    seen = {"client": f"python mcp {version('mcp')}"}
    try:
        async with asyncio.timeout(WHOLE):
            await judged(seen)
    except BaseException as failure:
        print(json.dumps({"ok": False, "wrong": told(failure), **seen}))
        return 1
    print(json.dumps({"ok": True, **seen}))
    return 0


def server(binary, arguments):
    # The client hands on only a few variables by itself; whoever starts this script decides about the rest.
    env = {name: value for name, value in os.environ.items() if not name.startswith("HUSK_TEST_")}
    return StdioServerParameters(
        command=binary, args=[*arguments, "--python", os.environ["HUSK_TEST_PYTHON"]], env=env
    )


def target():
    """What is judged: a binary that is launched, or a server that listens."""
    named, *more = sys.argv[1:]
    if named.endswith("/sse"):
        return sse_client(named)
    return named if named.startswith("http") else stdio_client(server(named, more))


async def connected(seen):
    named, *more = sys.argv[1:]
    listens = named.startswith("http")
    era = "legacy" if named.endswith("/sse") else more[0] if listens and more else "auto"
    async with Client(target(), mode=era, read_timeout_seconds=ANSWER) as client:
        await judge(client, seen)


async def judge(client, seen):
    seen["protocol"] = client.protocol_version
    seen["server"] = client.server_info.name if client.server_info else None
    await tools_are_there(client, seen)
    await state_lasts(client)
    await an_exception_is_an_error(client)
    await a_plot_is_an_image(client, seen)
    await the_other_tools_answer(client)
    await progress_arrives(client, seen)
    await a_cancelled_cell_frees_the_kernel(client, seen)


async def tools_are_there(client, seen):
    tools = (await client.list_tools()).tools
    seen["tools"] = sorted(tool.name for tool in tools)
    expect(TOOLS <= set(seen["tools"]), f"tools {sorted(TOOLS)}", seen["tools"])
    for tool in tools:
        expect(tool.name not in TOOLS or tool.output_schema, f"an outputSchema on {tool.name}", tool.output_schema)


async def state_lasts(client):
    result = await run(client, "x = 41")
    expect(text(result) == "(no output)", "`(no output)`", text(result))
    result = await run(client, "x + 1")
    expect(text(result) == "42", "`42`", text(result))
    expect(result.structured_content["status"] == "ok", "status ok", result.structured_content)
    expect(not result.structured_content["state_lost"], "the state to be kept", result.structured_content)


async def an_exception_is_an_error(client):
    result = await run(client, "1/0", is_error=True)
    facts = result.structured_content
    expect(facts["status"] == "error", "status error", facts)
    expect(facts["error"]["name"] == "ZeroDivisionError", "ZeroDivisionError", facts)
    expect("ZeroDivisionError" in text(result), "a traceback", text(result))


async def a_plot_is_an_image(client, seen):
    result = await run(client, PLOT)
    images = [block for block in result.content if block.type == "image"]
    expect(len(images) == 1, "one image", [block.type for block in result.content])
    expect(images[0].mime_type == "image/png", "image/png", images[0].mime_type)
    data = base64.b64decode(images[0].data, validate=True)
    expect(data.startswith(PNG), "a PNG signature", data[:8])
    expect(result.structured_content["output"]["images"] == 1, "images: 1", result.structured_content)
    seen["png_bytes"] = len(data)


async def the_other_tools_answer(client):
    for name in ("sandbox_status", "usage"):
        await call(client, name, {})


async def progress_arrives(client, seen):
    told_so_far = []

    async def on_progress(progress, _total, _message):
        told_so_far.append(progress)

    await run(client, SLOW, progress_callback=on_progress)
    expect(told_so_far, "progress from a cell that prints for a second", told_so_far)
    expect(told_so_far == sorted(set(told_so_far)), "progress that grows", told_so_far)
    seen["progress"] = len(told_so_far)


async def a_cancelled_cell_frees_the_kernel(client, seen):
    started = asyncio.Event()

    async def on_progress(*_):
        started.set()

    hanging = asyncio.create_task(run(client, HANG, progress_callback=on_progress))
    first = asyncio.create_task(started.wait())
    await asyncio.wait({hanging, first}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    expect(started.is_set(), "progress once a cell has printed", hanging)
    hanging.cancel()
    begin = time.monotonic()
    result = await run(client, "x")
    took = time.monotonic() - begin
    expect(text(result) == "41", "the state from before the cancelled cell", text(result))
    expect(took < SOON, f"the next cell within {SOON} s", f"{took:.1f} s")
    seen["after_cancel_ms"] = round(took * 1000)


async def run(client, code, is_error=False, **more):
    return await call(client, "notebook_run_cell", {"code": code}, is_error, **more)


async def call(client, name, arguments, is_error=False, **more):
    result = await client.call_tool(name, arguments, **more)
    expect(bool(result.is_error) == is_error, f"isError {is_error} of {name}", result.model_dump(exclude_none=True))
    expect(isinstance(result.structured_content, dict), f"structuredContent of {name}", result.structured_content)
    # The client holds good results against outputSchema by itself, but not those with isError.
    await client.session.validate_tool_result(name, result)
    return result


def text(result):
    return "\n".join(block.text for block in result.content if block.type == "text").strip()


def told(failure):
    """The message at the bottom: the client's task groups wrap what went wrong."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return str(failure) if isinstance(failure, Wrong) else f"{type(failure).__name__}: {failure}"


if __name__ == "__main__":
    sys.exit(asyncio.run(verdict(connected)))
