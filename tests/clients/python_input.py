"""Judges how husk asks the user, with the official Python MCP client: python_input.py HUSK_BINARY [ARG…], or a URL

In both eras: of the handshake (`mode="legacy"`), and without (`mode="auto"`). Prints and exits as python_client.py does.
"""

import asyncio
import sys

import mcp_types as types
from mcp import Client
from python_client import ANSWER, call, expect, run, target, text, verdict

TWO = """
import getpass
name = input("Your name? ")
key = getpass.getpass("API key: ")
print(name, len(key))
"""
MANY = "print(''.join(input(f'{n}? ') for n in range(13)))"


class User:
    """Answers the client's questions in turn; one that nobody expected is declined."""

    def __init__(self):
        self.answers = []
        self.asked = []

    def will(self, *answers):
        self.answers, self.asked = list(answers), []

    async def __call__(self, _context, params):
        self.asked.append(params.message)
        answer = self.answers.pop(0) if self.answers else "decline"
        if answer in ("decline", "cancel"):
            return types.ElicitResult(action=answer)
        return types.ElicitResult(action="accept", content={"value": answer})


async def judge(seen):
    for mode in ("legacy", "auto"):
        user = User()
        async with Client(target(), mode=mode, elicitation_callback=user, read_timeout_seconds=ANSWER) as client:
            seen[mode] = client.protocol_version
            await answers_reach_the_code(client, user)
            await no_answer_stops_the_cell(client, user)
            await many_questions_are_asked(client, user, mode)
        async with Client(target(), mode=mode) as client:
            await nobody_is_asked(client)


async def answers_reach_the_code(client, user):
    user.will("Zoë", "hunter2")
    result = await run(client, TWO)
    expect(text(result).endswith("Zoë 7"), "`Zoë 7`", text(result))
    expect("hunter2" not in result.model_dump_json(), "no secret in the answer", text(result))
    expect(["Your name?" in user.asked[0], "API key:" in user.asked[1]] == [True, True], "two questions", user.asked)


async def no_answer_stops_the_cell(client, user):
    await run(client, "kept = 1")
    for answer in ("decline", "cancel"):
        user.will(answer)
        result = await run(client, "kept = input('? ')", is_error=True)
        expect(result.structured_content["status"] == "interrupted", "status interrupted", result.structured_content)
        expect("got no answer" in result.structured_content["hint"], "the reason", result.structured_content)
    expect(text(await run(client, "kept")) == "1", "variables to be kept", "something else")


async def many_questions_are_asked(client, user, mode):
    user.will(*"abcdefghijklm")
    result = await run(client, MANY)
    while (facts := result.structured_content)["status"] == "running":
        expect(mode == "auto", "all questions in one call", facts)
        result = await call(client, "notebook_wait_cell", {"cell": facts["cell"]})
    expect(text(result).endswith("abcdefghijklm"), "13 answers", text(result))
    expect(len(user.asked) == 13, "13 questions", user.asked)


async def nobody_is_asked(client):
    result = await run(client, "input('? ')", is_error=True)
    facts = result.structured_content
    expect(facts["error"]["name"] == "StdinNotImplementedError", "StdinNotImplementedError", facts)


if __name__ == "__main__":
    sys.exit(asyncio.run(verdict(judge)))
