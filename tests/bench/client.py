"""What the model client costs: time to the first word, and words a second, beside the official Python SDKs.

One local server streams the same answer to all, on both wires, as fast as it can. The contenders take turns in blocks,
so that whatever else the machine does meets all of them. A bare socket that only counts the events is the floor. Prints
Markdown. The SDKs are Python and husk is not: what is compared is what a user of each has.
"""

import argparse
import asyncio
import json
import platform
import socket
import statistics
import subprocess
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlsplit

import anthropic
import openai

ROOT = Path(__file__).resolve().parents[2]
WORD = " word"


def sse(data, name=None):
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def answer(wire, words):
    """The events of an answer: what comes before the first word, each word, and what comes after the last."""
    if wire == "anthropic":
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
                   "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 1}}
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORD}}
        end = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None},
               "usage": {"output_tokens": words}}
        before = [sse({"type": "message_start", "message": message}, "message_start"), sse(block, block["type"])]
        after = [sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
                 sse(end, end["type"]), sse({"type": "message_stop"}, "message_stop")]
        return before, sse(delta, delta["type"]), after

    def chunk(delta, reason=None):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse({"id": "m", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    return [chunk({"role": "assistant", "content": ""})], chunk({"content": WORD}), [chunk({}, "stop"), b"data: [DONE]\n\n"]


class Server:
    """Streams answers, on a thread of its own."""

    def __init__(self, words):
        self.words = words
        self.ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True).start()
        self.ready.wait()

    async def serve(self):
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await server.serve_forever()

    async def connection(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length"))
                await reader.readexactly(length)
                await self.respond(writer, "openai" if "chat/completions" in lines[0] else "anthropic")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def respond(self, writer, wire):
        def chunked(event):
            return b"%x\r\n%s\r\n" % (len(event), event)

        before, word, after = answer(wire, self.words)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in before:
            writer.write(chunked(event))
        for _ in range(self.words):
            writer.write(chunked(word))
            await writer.drain()
        writer.write(b"".join(map(chunked, after)) + b"0\r\n\r\n")
        await writer.drain()


def husk(url, wire, runs):
    command = [*HUSK, url, wire, str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def timed(stream):
    begun, first, words = time.perf_counter(), None, 0
    for _ in stream():
        first = first or time.perf_counter() - begun
        words += 1
    return first, time.perf_counter() - begun, words


def sdk(url, wire, runs):
    messages = [{"role": "user", "content": "hello"}]
    if wire == "anthropic":
        client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)

        def stream():
            for event in client.messages.create(model="m", max_tokens=9999, messages=messages, stream=True):
                if event.type == "content_block_delta":
                    yield event.delta.text
    else:
        client = openai.OpenAI(base_url=url, api_key="none", max_retries=0)

        def stream():
            for event in client.chat.completions.create(model="m", messages=messages, stream=True):
                if event.choices and event.choices[0].delta.content:
                    yield event.choices[0].delta.content

    return [timed(stream) for _ in range(runs)]


def bare(url, wire, runs):
    at = urlsplit(url)
    path = "/v1/chat/completions" if wire == "openai" else "/v1/messages"
    request = f"POST {path} HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
    word = WORD.encode()

    def stream():
        connection.sendall(request)
        rest = b""
        while b"\r\n0\r\n\r\n" not in rest:
            rest = rest[-16:] + connection.recv(1 << 16)
            yield from range(rest[16:].count(word)) if len(rest) > 16 else range(rest.count(word))

    with socket.create_connection((at.hostname, at.port)) as connection:
        return [timed(stream) for _ in range(runs)]


def row(name, results):
    firsts = sorted(first * 1000 for first, _, _ in results)
    speeds = [words / whole for _, whole, words in results]
    p90 = firsts[int(len(firsts) * 0.9)]
    print(f"| {name} | {statistics.median(firsts):.2f} | {p90:.2f} | {statistics.median(speeds):,.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=2000, help="words of an answer (default 2000)")
    parser.add_argument("--runs", type=int, default=20, help="answers in a block (default 20)")
    parser.add_argument("--blocks", type=int, default=5, help="blocks of each contender (default 5)")
    parser.add_argument("--profile", default="bench", help="cargo profile of husk; others than bench say little")
    given = parser.parse_args()
    global HUSK
    HUSK = ["cargo", "bench", "--quiet", "--profile", given.profile, "--bench", "client", "--"]
    subprocess.run([*HUSK[:-1], "--no-run"], cwd=ROOT, check=True)
    server = Server(given.words)
    print(f"{platform.machine()}, {given.words} words an answer, {given.runs * given.blocks} answers each\n")
    for wire, path in [("anthropic", ""), ("openai", "/v1")]:
        url = f"http://127.0.0.1:{server.port}{path}"
        contenders = {"husk": husk, f"{wire} {version(wire)} (Python)": sdk, "bare socket": bare}
        results = {name: [] for name in contenders}
        for _ in range(given.blocks):
            for name, contender in contenders.items():
                # The first answer of a block finds neither connection nor warm code.
                results[name] += contender(url, wire, given.runs + 1)[1:]
        print(f"| {wire} | first word, ms, p50 | p90 | words a second, p50 |\n|---|---:|---:|---:|")
        for name, result in results.items():
            row(name, result)
        print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
