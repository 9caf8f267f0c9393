"""Starts ipykernel the way husk needs it. Arguments: connection file, journal, the folder for an
environment of the kernel's own or `-`, then ipykernel's own.

Differs from `python -m ipykernel_launcher` in ten things, each for one promise:
- iopub never drops: it waits for the server when more than its high-water mark is queued.
- every write is also noted in a memory-mapped journal, so that text that was printed before a
  crash is not lost with the process (layout: src/kernel/journal.rs).
- one huge print becomes many messages.
- who prints faster than the server reads waits, and can be interrupted there: what is on its way
  is a few megabytes, so that a kernel that prints without end is free soon after an interrupt.
- the thread that publishes never waits for itself.
- `sys.stdout.close()` in a cell does not break every later cell.
- a request on a subshell is no cell: it neither runs the hooks of one nor counts in the journal.
- `!command` works where no terminal can be had for it, as behind Landlock.
- what cells install goes into an environment of the kernel's own, over the one that it only reads.
- the trace of a cell's call is in the environment while the cell runs.
Whatever of this a version of ipykernel does not offer is left out; the kernel starts all the same.
"""
import hashlib
import mmap
import os
import struct
import sys
import threading

# The folder of this file is not the user's: an `import` in a cell must not find it.
if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
    del sys.path[0]

import zmq
from ipykernel import iostream
from ipykernel.kernelapp import IPKernelApp

RING = 64 * 1024
HEADER = 32
# Characters in one message, messages on their way in ZeroMQ, and bytes that wait for that.
LONGEST = 125_000
MESSAGES = 64
WAITING = 4_000_000
STREAMS = {"stdout": 0, "stderr": 1}
# A forked child shares the journal's memory; its text reaches the server another way.
FORKED = False


class Journal:
    """One stream's region of the file.

    Whoever calls it holds the stream's lock.
    """

    def __init__(self, memory, start):
        self.memory, self.start, self.base = memory, start, start + HEADER
        # The first eight bytes as a number: a third of the cost of packing it.
        self.position = memoryview(memory)[start : start + 8].cast("Q")
        self.written = self.flushed = self.cell = 0

    def write(self, text):
        data = text.encode("utf-8", "replace")
        end = self.written + len(data)
        at = self.written % RING
        if at + len(data) <= RING:
            at += self.base
            self.memory[at : at + len(data)] = data
        else:
            self._write_around(data, end, self.base)
        self.written = self.position[0] = end

    def _write_around(self, data, end, base):
        """Writes what goes over the end of the ring, or is longer than it."""
        kept = data[-RING:]
        at = (end - len(kept)) % RING
        first = min(len(kept), RING - at)
        self.memory[base + at : base + at + first] = kept[:first]
        if first < len(kept):
            self.memory[base : base + len(kept) - first] = kept[first:]

    def begin_cell(self, request):
        self.cell = self.written
        fingerprint = hashlib.sha256(request.encode()).digest()[:8]
        struct.pack_into("<Q8s", self.memory, self.start + 16, self.cell, fingerprint)

    def flush_up_to(self, position):
        self.flushed = position
        struct.pack_into("<Q", self.memory, self.start + 8, position)


OutStream = iostream.OutStream
# A buffer for each request's text; before ipykernel 6.30 there is one for all.
BUFFERS = hasattr(OutStream, "_rotate_buffers")


def cut(string):
    return [string[at : at + LONGEST] for at in range(0, len(string), LONGEST)]


class Stream(OutStream):
    """ipykernel's stream, with a journal."""

    memory = None
    # A server that is slow is waited for; text about it is no output of the cell.
    flush_timeout = 3600

    def __init__(self, session, pub_thread, name, *args, **kwargs):
        self._journal = self._request = None
        if Stream.memory is not None and name in STREAMS:
            self._journal = Journal(Stream.memory, STREAMS[name] * (HEADER + RING))
        # What the last write found: the header that it belongs to, all buffers, and the one for it.
        self._found = (None, None, None)
        super().__init__(session, pub_thread, name, *args, **kwargs)

    def _mine(self):
        return self._journal is not None and not FORKED

    def write(self, string):
        journal = self._journal
        if journal is None or FORKED or not isinstance(string, str):
            return super().write(string)
        # A print is two of these: what is short takes the short way.
        parts = (string,) if len(string) <= LONGEST else cut(string)
        for part in parts:
            parent = self.parent_header
            with self._buffer_lock:
                journal.write(part)
                self._buffer_of(parent).write(part)
            if not self._flush_pending:
                self._schedule_flush()
            if journal.written - journal.flushed > WAITING:
                self.flush()
        return len(string)

    def _buffer_of(self, parent):
        """The buffer of a request's text, as ipykernel finds it, but looked for once a request."""
        header, buffers, buffer = self._found
        if not BUFFERS:
            return self._buffer
        if header is not parent or buffers is not self._buffers:
            buffers = self._buffers
            buffer = buffers[frozenset(parent.items())]
            self._found = parent, buffers, buffer
        return buffer

    def set_parent(self, parent):
        request = (parent.get("header") or {}).get("msg_id") or ""
        # A subshell's request is no cell: the journal stays with the one that runs.
        main = threading.current_thread() is threading.main_thread()
        if main and self._mine() and request != self._request:
            self._request = request
            with self._buffer_lock:
                self._journal.begin_cell(request)
        super().set_parent(parent)

    def _flush(self):
        position = self._journal.written if self._mine() else None
        super()._flush()
        if position is not None:
            # Behind the text, which waits for its turn among what is published.
            self.pub_thread.schedule(lambda: self._journal.flush_up_to(position))

    def _flush_buffers(self):
        for parent, data in super()._flush_buffers():
            for at in range(0, len(data), LONGEST):
                yield parent, data[at : at + LONGEST]

    def close(self):
        """Closing is left to the end of the process; a cell that closes only flushes."""
        self.flush()


def never_waits_for_itself(schedule):
    """The IO thread asks itself as others ask it, behind what they have asked for, but without waiting.

    Its pipe holds two thousand requests; one more of its own and it would wait for itself for ever,
    which ipykernel does after some hundred megabytes. In a full pipe there are enough that it looks.
    """

    def scheduled(thread, deed):
        if threading.current_thread() is not thread.thread:
            return schedule(thread, deed)
        thread._events.append(deed)
        try:
            thread._event_pipe.send(b"", zmq.NOBLOCK)
        except zmq.Again:
            pass

    return scheduled


class WaitingContext:
    """A ZeroMQ context whose sockets wait at the high-water mark instead of dropping."""

    def __init__(self, context):
        self._context = context

    def __getattr__(self, name):
        return getattr(self._context, name)

    def socket(self, kind, *args, **kwargs):
        made = self._context.socket(kind, *args, **kwargs)
        made.setsockopt(zmq.XPUB_NODROP, 1)
        made.setsockopt(zmq.SNDHWM, MESSAGES)
        return made


PIP = """#!%s
import importlib, importlib.util, runpy, subprocess, sys
if importlib.util.find_spec("pip") is None:
    subprocess.run([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
    importlib.invalidate_caches()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class Environment:
    """A virtual environment whose packages come before those of the one that the kernel runs in.

    The kernel goes on as it was started. Programs that it starts by `sys.executable`, or as
    `python` and `pip`, see both, and install into this one.
    """

    def __init__(self, folder):
        free = "t" if "t" in getattr(sys, "abiflags", "") else ""
        version = "python%d.%d%s" % (*sys.version_info[:2], free)
        self.folder = folder
        self.site = os.path.join(folder, "lib", version, "site-packages")
        self.programs = os.path.join(folder, "bin")
        self.heeded = {"_husk.pth"}

    def make(self):
        import site

        home = self.home()
        below = [path for path in site.getsitepackages() if os.path.isdir(path)]
        python = os.path.join(self.programs, "python")
        os.makedirs(self.site)
        os.mkdir(self.programs)
        os.symlink("lib", os.path.join(self.folder, "lib64"))
        os.symlink(sys.executable, python)
        os.symlink("python", os.path.join(self.programs, "python3"))
        for name in ("pip", "pip3"):
            self.write(os.path.join("bin", name), PIP % python, 0o755)
        about = {
            "home": home,
            "include-system-site-packages": "false",
            "version": "%d.%d.%d" % sys.version_info[:3],
        }
        self.write("pyvenv.cfg", "".join("%s = %s\n" % line for line in about.items()))
        lines = ["import site; site.addsitedir(%r)\n" % path for path in below]
        self.write(os.path.join(self.site, "_husk.pth"), "".join(lines))
        known = [sys.path.index(path) for path in below if path in sys.path]
        sys.path.insert(min(known, default=len(sys.path)), self.site)
        sys.executable = python

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    def home(self):
        """The folder of the Python that all of them were made from."""
        if sys.prefix != sys.base_prefix:
            with open(os.path.join(sys.prefix, "pyvenv.cfg")) as file:
                for line in file:
                    name, _, value = line.partition("=")
                    if name.strip().lower() == "home":
                        return value.strip()
        return os.path.dirname(sys.executable)

    def pip(self, line):
        """Installs packages for this kernel alone, for example `%pip install NAME`."""
        import shlex

        # A cell has it: the shell is there.
        shell = IPKernelApp.instance().shell
        shell.system(" ".join([shlex.quote(os.path.join(self.programs, "pip")), line]))
        self.heed()

    def heed(self):
        """Makes what was installed importable at once."""
        import importlib
        import site

        importlib.invalidate_caches()
        for name in sorted(os.listdir(self.site)):
            if name.endswith(".pth") and name not in self.heeded:
                self.heeded.add(name)
                site.addpackage(self.site, name, None)


def environment(folder):
    """An environment in that folder; none where none is wanted or can be made."""
    if folder == "-":
        return None
    made = Environment(folder)
    try:
        made.make()
    except OSError as error:
        print("husk: no environment for packages:", error, file=sys.stderr)
        return None
    return made


def has_terminals():
    try:
        for end in os.openpty():
            os.close(end)
    except OSError:
        return False
    return True


def by_pipe(shell):
    """What runs `!command` without a terminal; the cell sees what it writes as it comes."""

    def system(command):
        import codecs
        import subprocess

        command = shell.var_expand(command, depth=1)
        if command.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        run = subprocess.Popen(command, shell=True, stdin=subprocess.DEVNULL, **output)
        try:
            while chunk := os.read(run.stdout.fileno(), 65536):
                sys.stdout.write(decode(chunk))
                sys.stdout.flush()
            run.wait()
        except KeyboardInterrupt:
            run.terminate()
            run.wait()
        finally:
            run.stdout.close()
        # A signal is a negative number, as IPython has it.
        code = run.returncode
        shell.user_ns["_exit_code"] = code if code <= 128 else 128 - code

    return system


TRACE = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")


def tell_trace(shell):
    """Before each cell: what OpenTelemetry, and the programs that a cell starts, read of its trace."""
    told = {}

    def before_cell(*_):
        metadata = shell.get_parent().get("metadata") or {}
        for name in TRACE:
            value = metadata.get(name.lower())
            if isinstance(value, str):
                os.environ[name] = told[name] = value
            # What a cell has set itself stays.
            elif name in told and os.environ.get(name) == told.pop(name):
                del os.environ[name]

    shell.events.register("pre_run_cell", before_cell)


class KernelApp(IPKernelApp):
    name = "husk-kernel"
    packages = None

    def init_shell(self):
        super().init_shell()
        if self.packages is not None and self.shell is not None:
            self.shell.register_magic_function(self.packages.pip, "line", "pip")
        if self.shell is not None and not has_terminals():
            self.shell.system = by_pipe(self.shell)
        # What hooks do after a cell (show its figures) a look at variables on a subshell must not.
        events = getattr(self.shell, "events", None)
        if hasattr(events, "register") and hasattr(self.shell, "get_parent"):
            tell_trace(self.shell)
        if events is not None:
            trigger = events.trigger
            events.trigger = lambda *args, **kwargs: (
                trigger(*args, **kwargs)
                if threading.current_thread() is threading.main_thread()
                else None
            )

    def init_iopub(self, context):
        super().init_iopub(WaitingContext(context))


def forked():
    global FORKED
    FORKED = True


def open_journal(path):
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), 2 * (HEADER + RING))


def main():
    connection_file, journal, folder, *rest = sys.argv[1:]
    KernelApp.packages = environment(folder)
    Stream.memory = open_journal(journal)
    os.register_at_fork(after_in_child=forked)
    iostream.OutStream = Stream
    iostream.IOPubThread.schedule = never_waits_for_itself(iostream.IOPubThread.schedule)
    sys.argv = [sys.argv[0], "-f", connection_file, *rest]
    KernelApp.launch_instance()


main()
