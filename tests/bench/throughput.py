"""How fast cells with much output come through husk, beside jupyter_client, and the server's peak memory.

One run on one machine: both contenders have a kernel of their own (same interpreter, same ipykernel, ipc, without
history), and take turns cell by cell, so that whatever else the machine does meets both. The ratio is that of the
medians. Each cell's output is counted on both sides: what a contender lost it did not do quickly.
jupyter_client hands over everything; husk keeps everything, and answers with the beginning and the end.

Peak memory is VmHWM of a server of its own for each row. Prints Markdown.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from latency import ME, ROOT, Husk, JupyterClient, Place, conditions, mib, table, unequal

MB = 1_000_000
PLOTS = """
for n in range(20):
    plt.figure(); plt.plot([1, n]); plt.show()"""
# What is run, and how many bytes of text and images come of it.
CELLS = {
    "1 MB in one print": (f"print('x' * {MB - 1})", MB, 0),
    "10 MB in one print": (f"print('x' * {10 * MB - 1})", 10 * MB, 0),
    "50 MB in one print": (f"print('x' * {50 * MB - 1})", 50 * MB, 0),
    "50 MB in lines of 1 KB": ("for n in range(50_000): print('x' * 999)", 50 * MB, 0),
    "12,500 lines of 20 bytes": ("for n in range(12_500): print(f'{n:019}')", 250_000, 0),
    "20 plots": (PLOTS, None, 20),
}
# Only their peak memory is looked at.
LARGE = {
    "100 MB in one display": (f"display({{'text/plain': 'x' * {100 * MB}}}, raw=True)", 100 * MB, 0),
    "1 GB in one print": (f"print('x' * {1000 * MB - 1})", 1000 * MB, 0),
    "1 GB in prints of 1 MB": (f"for n in range(1000): print('x' * {MB - 1})", 1000 * MB, 0),
    "1 GB in lines of 1 KB": ("for n in range(1_000_000): print('x' * 999)", 1000 * MB, 0),
}
PREPARE = "import matplotlib.pyplot as plt; plt.figure(); plt.plot([1, 2]); plt.show()"
ENDLESS = {
    "endless prints of 20 bytes": "while True: print('x' * 19)",
    "endless prints of 1 MB": f"while True: print('x' * {MB - 1})",
}


class HuskOfMuch(Husk):
    def run(self, code):
        """Bytes of text and number of images that the cell put out."""
        output = self.tool("notebook_run_cell", code=code)["structuredContent"]["output"]
        return output["text_bytes"], output["images"]

    def tool(self, name, **arguments):
        return self.ask("tools/call", call(name, **arguments))

    def begin(self, request, name, **arguments):
        self.send({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": call(name, **arguments)})

    def answers(self, requests):
        """The results of all these requests, as they come."""
        results = {}
        while set(results) < requests and (line := self.process.stdout.readline()):
            message = json.loads(line)
            if message.get("id") in requests:
                results[message["id"]] = message["result"]
        return results

    def peak(self):
        """The most memory that it ever had resident, in kB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


class JupyterClientOfMuch(JupyterClient):
    def run(self, code):
        outputs = []
        reply = self.client.execute_interactive(code, allow_stdin=False, output_hook=outputs.append)
        if reply["content"]["status"] != "ok":
            sys.exit(f"{ME}: {self.name} failed a cell: {reply['content']}")
        contents = [message["content"] for message in outputs]
        text = sum(len(content["text"]) for content in contents if "text" in content)
        return text, sum("image/png" in content.get("data", {}) for content in contents)


def call(name, **arguments):
    # The same cells again and again are meant: a loop guard must not take them for a stuck agent.
    return {"name": name, "arguments": arguments, "_meta": {"allow_repeat": True}}


def main():
    options = parsed()
    with tempfile.TemporaryDirectory(prefix="much") as folder:
        place = Place(folder)
        contenders = [HuskOfMuch(options.command, place), JupyterClientOfMuch(place)]
        if difference := unequal(contenders):
            sys.exit(f"{ME}: these kernels are not the same, so they cannot be compared: {difference}")
        for contender in contenders:
            contender.run(PREPARE)
        times = {name: cell_times(contenders, cell, options.rounds) for name, cell in CELLS.items()}
        for contender in contenders:
            contender.close()
        peaks = {"a cell without output": peak_of(options.command, place, ("pass", 0, 0))}
        peaks |= {name: peak_of(options.command, place, cell) for name, cell in (CELLS | LARGE).items()}
        stopped = {name: stop(options, place, code) for name, code in ENDLESS.items()}
    report(options, contenders, times, peaks, stopped)


def parsed():
    parser = argparse.ArgumentParser(prog="tests/bench/throughput", description=__doc__.splitlines()[0])
    parser.add_argument("--husk", type=Path, default=ROOT / "target/release/husk", metavar="PATH", help="the binary")
    parser.add_argument("--rounds", type=int, default=7, help="runs of each cell on each side (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of an endless print (default: %(default)s)")
    parser.add_argument("arguments", nargs="*", metavar="ARG", help="more arguments for husk, after `--`")
    options = parser.parse_args()
    if not options.husk.exists():
        parser.error(f"no binary at {options.husk}; build it with: cargo build --release --locked")
    options.command = [str(options.husk.resolve()), *options.arguments, "--python", sys.executable]
    options.realtime = False
    return options


def cell_times(contenders, cell, rounds):
    """Milliseconds of every run, by contender. Each round the other one begins."""
    times = [[] for _ in contenders]
    for turn in range(rounds):
        for which in range(len(contenders)):
            at = (turn + which) % len(contenders)
            times[at].append(cell_time(contenders[at], cell))
    return times


def cell_time(contender, cell):
    code, text, images = cell
    begun = time.perf_counter()
    came = contender.run(code)
    took = (time.perf_counter() - begun) * 1000
    if came[1] != images or text not in (None, came[0]):
        sys.exit(f"{ME}: through {contender.name} came {came} of {text, images}: {code}")
    return took


def peak_of(command, place, cell):
    husk = HuskOfMuch(command, place)
    if cell[2]:
        husk.run(PREPARE)
    cell_time(husk, cell)
    peak = husk.peak()
    husk.close()
    return peak


def stop(options, place, code):
    """An endless print, interrupted: the server's peak in kB, bytes that had come, and two times in ms since the
    interrupt: until the cell's answer, and until that of a next cell."""
    husk = HuskOfMuch(options.command, place)
    husk.run("kept = 1")
    husk.begin("endless", "notebook_run_cell", code=code)
    time.sleep(options.seconds)  # it is the subject
    begun = time.perf_counter()
    husk.begin("stop", "notebook_interrupt")
    answers = husk.answers({"endless", "stop"})
    answered = time.perf_counter()
    status = answers["endless"]["structuredContent"]["status"]
    kept = husk.tool("notebook_run_cell", code="kept")["content"][0]["text"]
    next_cell = time.perf_counter()
    if (status, kept) != ("interrupted", "1"):
        sys.exit(f"{ME}: the endless print ended with {answers['endless']}, then came {kept}")
    peak, came = husk.peak(), answers["endless"]["structuredContent"]["output"]["text_bytes"]
    husk.close()
    return peak, came, (answered - begun) * 1000, (next_cell - begun) * 1000


def report(options, contenders, times, peaks, stopped):
    husk, other = contenders
    print(f"\n{conditions(options, husk.server)}\n")
    rows = []
    for name, (ours, theirs) in times.items():
        ours, theirs = statistics.median(ours), statistics.median(theirs)
        rows.append([name, f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}", mib(peaks[name])])
    title = f"median of {options.rounds}, ms"
    table(title, [husk.name, other.name, "ratio", "husk's peak memory, MiB"], rows)
    rows = [[name, mib(peak)] for name, peak in peaks.items() if name not in times]
    table("", ["husk's peak memory, MiB"], rows)
    rows = [
        [name, mib(peak), f"{came / MB:.0f}", f"{answered:.0f}", f"{following:.0f}"]
        for name, (peak, came, answered, following) in stopped.items()
    ]
    heads = ["husk's peak memory, MiB", "MB of output", "ms until its answer", "ms until the next cell's"]
    table(f"interrupted after {options.seconds:g} s", heads, rows)


if __name__ == "__main__":
    main()
