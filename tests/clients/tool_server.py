"""A tool server by the official Python SDK, for the agent to be judged with: tool_server.py [PORT]

Over standard input and output, or over Streamable HTTP at http://127.0.0.1:PORT/mcp. What its tools say depends on
whether the agent calls them side by side or one after the other, and gives up on them as the protocol wants it.
"""

import asyncio
import os
import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

PATIENCE = 30  # seconds: what takes longer never comes
READS = ToolAnnotations(read_only_hint=True)
CHANGES = ToolAnnotations(read_only_hint=False, destructive_hint=True)
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)

server = MCPServer("judge", instructions="These tools judge their caller.", log_level="ERROR")
state = {"here": 0, "inside": False, "changes": [], "given_up": 0}
changed = asyncio.Condition()


@server.tool(annotations=READS, structured_output=False)
def look(name: str) -> str:
    """Says what it was asked for."""
    return f"saw {name}"


@server.tool(annotations=READS, structured_output=False)
def words(count: int) -> str:
    """Says much."""
    return " ".join(["word"] * count)


@server.tool(annotations=READS, structured_output=False)
async def meet(count: int, who: str) -> str:
    """Answers when so many callers are here at once."""
    async with changed:
        state["here"] += 1
        changed.notify_all()
        await asyncio.wait_for(changed.wait_for(lambda: state["here"] >= count), PATIENCE)
    return "met"


@server.tool(annotations=CHANGES, structured_output=False)
async def change(value: str) -> str:
    """Changes something, and says all changes so far. Two at once are a fault."""
    if state["inside"]:
        raise RuntimeError("two changes at once")
    state["inside"] = True
    # What else there is to do gets its turn: a second call would be seen.
    for _ in range(50):
        await asyncio.sleep(0)
    state["changes"].append(value)
    state["inside"] = False
    return ",".join(state["changes"])


@server.tool(annotations=CHANGES, structured_output=False)
async def hang(context: Context) -> str:
    """Never answers, and says so."""
    await context.report_progress(0, message="hanging")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        async with changed:
            state["given_up"] += 1
            changed.notify_all()
        raise
    return "never"


@server.tool(annotations=READS, structured_output=False)
async def given_up(count: int) -> str:
    """Answers when so many calls were given up."""
    async with changed:
        await asyncio.wait_for(changed.wait_for(lambda: state["given_up"] >= count), PATIENCE)
    return f"{count} given up"


@server.tool(annotations=READS, structured_output=False)
def variable(name: str) -> str:
    """A variable of the environment."""
    return os.environ.get(name, "unset")


@server.tool(annotations=READS, structured_output=False)
def picture() -> Image:
    """A picture."""
    return Image(data=PNG, format="png")


@server.tool(annotations=CHANGES, structured_output=False)
async def grow(context: Context) -> str:
    """Brings one tool more."""

    def grown() -> str:
        """Was not there before."""
        return "grown"

    server.add_tool(grown, name="grown", annotations=READS, structured_output=False)
    await context.session.send_tool_list_changed()
    return "there is one more"


class Wishes(BaseModel):
    """What its tool asks of the user."""

    name: str = Field(title="Your name")
    size: int = Field(default=3, title="Size")
    sure: bool = Field(title="Are you sure?")


@server.tool(annotations=READS, structured_output=False)
async def ask_user(context: Context) -> str:
    """Asks the user, and says what came."""
    if not context.request_context.session.client_params.capabilities.elicitation:
        return "nobody can be asked"
    asked = await context.elicit("What \x1b[31mdo you want?", Wishes)
    return f"{asked.action}: {asked.data.model_dump_json()}" if asked.action == "accept" else asked.action


@server.tool(annotations=CHANGES, structured_output=False)
def end(code: int = 0) -> str:
    """Ends the server at once."""
    os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
