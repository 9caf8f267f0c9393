"""A terminal with somebody at it: terminal.py STEPS COMMAND…

Runs the command in a pseudo-terminal. STEPS is a JSON list of [WAIT, LINE]: once WAIT has been shown (after the last
step), LINE is typed. Prints all that was shown, and exits as the command does.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 60  # seconds: what is not shown by then never comes
ROWS, COLUMNS = 40, 100


def main():
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    child, terminal = pty.fork()
    if child == 0:
        os.execvp(command[0], command)
    # Terminals have a size; this one would have none.
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    shown, seen, end = b"", 0, time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if steps and (at := shown.find(steps[0][0].encode(), seen)) >= 0:
            wait, line = steps.pop(0)
            seen = at + len(wait.encode())
            os.write(terminal, line.encode())
            continue
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # so ends a pseudo-terminal on Linux
            break
        if not part:
            break
        shown += part
    else:
        os.kill(child, signal.SIGKILL)
    sys.stdout.buffer.write(shown)
    sys.stdout.flush()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if steps:
        sys.exit(f"never shown: {steps[0][0]!r}")
    sys.exit(status if status >= 0 else 1)


main()
