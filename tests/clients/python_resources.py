"""Judges the resources of a husk binary with the official Python MCP client: python_resources.py HUSK_BINARY [ARG…]

In both eras: of the handshake (`mode="legacy"`), and without (`mode="auto"`). Prints and exits as python_client.py does.
"""

import asyncio
import base64
import json
import re
import sys

import nbformat
from mcp import Client, MCPError
from python_client import ANSWER, PLOT, PNG, expect, run, target, verdict

TEMPLATES = {"notebook", "cells", "cell", "cell-output", "display", "variable"}
SOON = 20.0  # seconds: far longer than a notification takes
LONG = "print('x' * 200_000 + 'end')"
HTML = """
from IPython.display import display
display({"text/plain": "plain", "text/html": "<b>rich</b>"}, raw=True)
"""


async def judge(seen):
    for mode in ("legacy", "auto"):
        heard = asyncio.Queue()
        async with Client(target(), mode=mode, message_handler=heard.put, read_timeout_seconds=ANSWER) as client:
            seen[mode] = client.protocol_version
            result = await run(client, "print('first')")
            session = f"husk://sessions/{result.structured_content['session']}"
            await what_there_is_is_listed(client, session)
            await outputs_are_read_whole_and_in_parts(client, session)
            await displays_are_read(client)
            await cells_are_read_as_they_are(client, session)
            await what_is_not_there_is_an_error(client, session)
            await changes_are_told(client, mode, heard, f"{session}/notebook")
            await changes_are_told(client, mode, heard, f"{session}/cells")


async def what_there_is_is_listed(client, session):
    uris = [str(one.uri) for one in (await client.list_resources()).resources]
    expect(f"{session}/notebook" in uris, "the notebook in the list", uris)
    templates = {one.name for one in (await client.list_resource_templates()).resource_templates}
    expect(templates == TEMPLATES, f"templates {TEMPLATES}", templates)
    (notebook,) = (await client.read_resource(f"{session}/notebook", cache_mode="bypass")).contents
    expect(notebook.mime_type == "application/x-ipynb+json", "a notebook", notebook.mime_type)
    nbformat.validate(nbformat.reads(notebook.text, as_version=4))
    sources = ["".join(cell["source"]) for cell in json.loads(notebook.text)["cells"]]
    expect("print('first')" in sources, "the cell in the notebook", sources)


async def outputs_are_read_whole_and_in_parts(client, session):
    result = await run(client, LONG)
    facts = result.structured_content
    uri = f"{session}/cells/{facts['cell']}/output"
    expect(facts["output"]["truncated"] and uri in facts["hint"], f"{uri} in the hint", facts)
    (whole,) = (await client.read_resource(uri)).contents
    expect(whole.text == "x" * 200_000 + "end\n", "200 kB and their end", len(whole.text))
    (part,) = (await client.read_resource(f"{uri}?from=199999&to=200003")).contents
    expect(part.text == "xend", "`xend`", part.text)


async def displays_are_read(client):
    for code, mime in ((HTML, "text/html"), (PLOT, "image/png")):
        facts = (await run(client, code)).structured_content
        cell = f"husk://sessions/{facts['session']}/cells/{facts['cell']}/outputs/"
        named = re.findall(re.escape(cell) + r"\d+", facts.get("hint", ""))
        # An image that was shown needs no link: it is the cell's only display.
        uri = named[0] if named else f"{cell}1"
        contents = {one.mime_type: one for one in (await client.read_resource(uri)).contents}
        expect(mime in contents and "text/plain" in contents, f"{mime} and text/plain", list(contents))
        if mime == "image/png":
            data = base64.b64decode(contents[mime].blob, validate=True)
            expect(data.startswith(PNG), "a PNG signature", data[:8])
        else:
            expect(contents[mime].text == "<b>rich</b>", "the HTML", contents[mime].text)


async def cells_are_read_as_they_are(client, session):
    code = "import time\nprint('goes on', flush=True)\ntime.sleep(60)"
    going = client.call_tool("notebook_run_cell", {"code": code, "wait": 0, "description": "Waits"})
    facts = (await going).structured_content
    uri = f"{session}/cells/{facts['cell']}"
    while True:
        (text,) = (await client.read_resource(uri, cache_mode="bypass")).contents
        cell = json.loads(text.text)
        if cell["outputs"]:
            break
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    nbformat.validate(nbformat.from_dict(notebook))
    expect(cell["outputs"][0]["text"] == ["goes on\n"], "what it has put out so far", cell)
    (text,) = (await client.read_resource(f"{session}/cells", cache_mode="bypass")).contents
    listed = json.loads(text.text)["cells"][-1]
    told = (listed["cell"], listed["status"], listed["description"])
    expect(told == (facts["cell"], "running", "Waits"), "the cell that runs", listed)
    await client.call_tool("notebook_interrupt", {})
    (text,) = (await client.read_resource(f"{session}/cells", cache_mode="bypass")).contents
    expect(json.loads(text.text)["cells"][-1]["status"] == "interrupted", "its end", text.text)


async def what_is_not_there_is_an_error(client, session):
    for uri in (f"{session}/cells/c999/output", f"{session}/cells/c1/outputs/9", "husk://nope", "file:///etc/passwd"):
        try:
            got = await client.read_resource(uri)
        except MCPError as error:
            # The old era has a code of its own for this; the new one has none.
            expect(error.error.code in (-32002, -32602), "the code of a missing resource", error.error)
        else:
            expect(False, f"{uri} to be missing", got)


async def changes_are_told(client, mode, heard, uri):
    if mode == "legacy":
        await client.subscribe_resource(uri)
        await run(client, "'changes the notebook'")
        await asyncio.wait_for(until_heard(heard, uri), SOON)
        await client.unsubscribe_resource(uri)
        return
    async with client.listen(resources_list_changed=True, resource_subscriptions=[uri]) as changes:
        await run(client, "'changes the notebook'")
        await asyncio.wait_for(until_told(changes, "ResourceUpdated", uri), SOON)
        another = f"another-{uri.rsplit('/')[-1]}"
        await client.call_tool("notebook_run_cell", {"code": "1", "session": another})
        await asyncio.wait_for(until_told(changes, "ListChanged"), SOON)


async def until_heard(heard, uri):
    while True:
        message = await heard.get()
        if getattr(message, "method", "") == "notifications/resources/updated" and str(message.params.uri) == uri:
            return


async def until_told(changes, kind, uri=None):
    async for change in changes:
        if kind in type(change).__name__ and (uri is None or str(change.uri) == uri):
            return


if __name__ == "__main__":
    sys.exit(asyncio.run(verdict(judge)))
