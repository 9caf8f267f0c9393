"""The attacks that no cell may succeed with: what `husk doctor --attack` runs, and the tests too.

`t` holds what was laid out for them. Each attack ends by an exception (refused), by NotHere (this
machine has nothing to attack), or returns what it has got (open). A bomb may cost the kernel its life.
"""
import ctypes, json, mmap, os, platform, signal, socket, struct, sys, tempfile, time

libc = ctypes.CDLL(None, use_errno=True)
run_folder = os.path.dirname(sys.argv[2])

# Numbers of system calls: on x86-64, on aarch64.
NUMBERS = {
    "process_vm_readv": (310, 270), "ptrace": (101, 117), "unshare": (272, 97), "clone": (56, 220),
    "clone3": (435, 435), "mount": (165, 40), "setns": (308, 268), "keyctl": (250, 219),
    "io_uring_setup": (425, 425), "userfaultfd": (323, 282), "bpf": (321, 280),
    "perf_event_open": (298, 241), "init_module": (175, 105), "openat2": (437, 437),
    "pidfd_getfd": (438, 438), "open_tree": (428, 428), "shmget": (29, 194), "shmctl": (31, 195),
}


class NotHere(Exception):
    """This machine has nothing of the kind."""


def call(name, *args):
    column = {"x86_64": 0, "aarch64": 1}.get(platform.machine())
    if column is None or sys.platform != "linux":
        raise NotHere("a system call of Linux on x86-64 or aarch64")
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    got = libc.syscall(NUMBERS[name][column], *args)
    if got < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return got


def here(what):
    if not t["here"].get(what):
        raise NotHere("this machine has none")
    return t["here"][what]


def refused(why="it came to nothing"):
    raise OSError(why)


def read(path):
    with open(path, "rb") as file:
        return f"{len(file.read(200))} bytes read"


def write(path):
    with open(path, "w") as file:
        file.write("cell")
    return "written"


def connect(family, address, kind=socket.SOCK_STREAM, protocol=0):
    with socket.socket(family, kind, protocol) as peer:
        peer.settimeout(3)
        peer.connect(address)
        return "connected"


def linked(make, name):
    try:
        make(t["outside"], name)
        return read(name)
    finally:
        if os.path.lexists(name):
            os.unlink(name)


def moved_out():
    write("mine")
    os.rename("mine", t["outside"] + ".moved")
    return "moved"


def fast_open():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        sent = peer.sendto(b"x", 0x20000000, ("127.0.0.1", t["port"]))
        return f"{sent} byte sent"


def by_proxy():
    """Whatever a listener here is called, the proxy does not lead to it."""
    forms = "127.0.0.1 localhost 127.1 2130706433 0x7f.1 [::1] [::ffff:127.0.0.1] [::7f00:1] 0.0.0.0 [::]"
    for form in forms.split():
        for request in (f"CONNECT {form}:{t['port']} HTTP/1.0", f"GET http://{form}:{t['port']}/ HTTP/1.0"):
            with socket.create_connection(("127.0.0.1", 3128), 3) as peer:
                peer.sendall(request.encode() + b"\r\n\r\n")
                said = peer.recv(1000).decode()
            if " 403 " not in said.split("\r\n")[0]:
                return request, said
    refused("refused in every form")


def datagram_to_unix():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        return peer.sendto(b"x", t["datagrams"])


def datagram():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"x", ("127.0.0.1", t["udp"]))
    refused("sent; who laid it out sees whether it arrives")


def interfaces():
    names = [name for _, name in socket.if_nameindex()]
    return names if names != ["lo"] else refused("only its own loopback")


def netlink():
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as peer:
        # RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP
        peer.send(struct.pack("IHHII", 20, 18, 0x301, 1, 0) + b"\0" * 4)
        links, kind = 0, 0
        while kind != 3:
            told = peer.recv(1 << 20)
            while len(told) >= 16 and kind != 3:
                length, kind = struct.unpack_from("IH", told)
                links += kind == 16
                told = told[length + 3 & ~3:]
    return f"{links} links" if links > 1 else refused("only its own loopback")


def memory_of(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return f"{len(memory.read(16))} bytes read"


def vm_read(pid):
    buffer = ctypes.create_string_buffer(8)
    ours = struct.pack("PP", ctypes.addressof(buffer), 8)
    theirs = struct.pack("PP", t["address"], 8)
    return call("process_vm_readv", pid, ours, 1, theirs, 1, 0)


def taken_file():
    return call("pidfd_getfd", os.pidfd_open(t["victim"]), 0, 0)


def others():
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    seen = [pid for pid in (t["server"], t["victim"]) if pid in numbers]
    return f"{len(numbers)} processes seen" if seen else refused("only its own")


def replaced_socket():
    os.symlink(t["socket"], os.path.join(run_folder, "k-6"))
    return os.readlink(os.path.join(run_folder, "k-6"))


def moved_link():
    os.symlink(t["socket"], "link")
    try:
        os.rename("link", os.path.join(run_folder, "k-1"))
    finally:
        if os.path.lexists("link"):
            os.unlink("link")
    return "moved"


def runs_as_owner(make):
    """A file that gives who runs it the rights of the server's user, left where others find it."""
    try:
        make("lends")
        return "made" if os.stat("lends").st_mode & 0o6000 else refused("without the bit")
    finally:
        if os.path.lexists("lends"):
            os.unlink("lends")


def with_mode(path):
    write(path)
    os.chmod(path, 0o4755)


def by_openat2(path):
    # struct open_how: flags, mode, resolve
    how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    call("openat2", -100, path.encode(), how, len(how))


def alone(attack):
    """In a process with one thread, as some calls want it."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.write(write_end, json.dumps(outcome(attack)).encode())
        os._exit(0)
    os.wait()
    kind, why = json.loads(os.read(read_end, 4000))
    if kind == "open":
        return why
    raise NotHere(why) if kind == "inapplicable" else OSError(why)


def by_clone():
    # CLONE_NEWUSER | SIGCHLD; the child is a copy of this process, and must not go on as one.
    pid = call("clone", 0x10000011, 0, 0, 0, 0) or os._exit(0)
    os.waitpid(pid, 0)
    return "made"


def traced():
    pid = t["victim"]
    call("ptrace", 16, pid, 0, 0)
    os.waitpid(pid, 0)
    return call("ptrace", 17, pid, 0, 0) or "attached"


def becoming_root():
    os.setresuid(0, 0, 0)
    return "root" if t["uid"] != 0 else refused("it was that already, without its privileges")


# Bombs: each tries to get twice of what it may have, and says how much it got.


def forks():
    children = []
    try:
        while len(children) < 3 * t["tasks"]:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        return f"{len(children)} processes"
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def private():
    held = []
    while len(held) * (64 << 20) < 2 * t["memory"]:
        held.append(b"x" * (64 << 20))
    return f"{len(held) * 64} MiB"


def filled(view):
    for at in range(0, len(view), 4096):
        view[at] = 1
    # What watches looks once more.
    time.sleep(2)
    return f"{len(view) >> 20} MiB"


def shared():
    return filled(mmap.mmap(-1, 2 * t["memory"]))


def nameless():
    """In files that are each smaller than a file may be."""
    held = []
    for number in range(2 * t["memory"] >> 20):
        if number % 16 == 0:
            held.append(os.memfd_create("husk"))
        os.write(held[-1], b"x" * (1 << 20))
    time.sleep(2)
    return f"{2 * t['memory'] >> 20} MiB"


def system_v():
    size = 2 * t["memory"]
    segment = call("shmget", 0, size, 0o1600)
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(segment, None, 0)
    # It ends with its last user.
    call("shmctl", segment, 0, None)
    if place == ctypes.c_void_p(-1).value:
        refused("it cannot be mapped")
    ctypes.memset(place, 1, size)
    time.sleep(2)
    return f"{size >> 20} MiB"


def family():
    each = t["memory"] // 3
    for _ in range(6):
        if os.fork() == 0:
            code = 1
            try:
                held = bytearray(b"x") * each
                time.sleep(30)
                code = 0
            finally:
                os._exit(code)
    ended = time.monotonic() + 15
    while time.monotonic() < ended:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid and status:
            # One was denied it, or killed for it; whether the kernel is ended too shows now.
            time.sleep(2)
            refused("one of them was ended")
        time.sleep(0.05)
    return f"six times {each >> 20} MiB"


def huge(path, most):
    try:
        with open(path, "wb") as file:
            while file.tell() < 2 * most:
                file.write(b"x" * (1 << 20))
                file.flush()
            # What watches looks once more.
            time.sleep(5)
            return f"{file.tell() >> 20} MiB"
    finally:
        os.unlink(path)


def many(folder, most, each):
    os.makedirs(folder, exist_ok=True)
    for number in range(2 * most // max(each, 4096)):
        with open(f"{folder}/{number}", "wb") as file:
            file.write(b"x" * each)
    # What watches looks once more.
    time.sleep(6)
    return f"{number + 1} files"


ATTACKS = {
    "a key in the home": lambda: read(t["home"] + "/.ssh/key"),
    "a world-readable file of another home": lambda: read(t["other"]),
    "a file outside of the workspace": lambda: read(t["outside"]),
    "the system's passwords": lambda: read("/etc/shadow"),
    "the memory of the machine": lambda: read(here("memory")),
    "the disk": lambda: read(here("disk")),
    "a planted link": lambda: read("planted"),
    "a new link": lambda: linked(os.symlink, "new"),
    "a hard link": lambda: linked(os.link, "hard"),
    "writing outside": lambda: write(t["outside"]),
    "writing a new file outside": lambda: write(t["outside"] + ".new"),
    "moving a file outside": moved_out,
    "writing a start file of the shell": lambda: write(t["home"] + "/.bashrc"),
    "writing into the system": lambda: write("/usr/husk-was-here"),
    "writing into the interpreter": lambda: write(sys.base_prefix + "/husk-was-here"),
    "a setting of the system": lambda: write("/proc/sys/kernel/core_pattern"),
    "changing the owner of a file": lambda: os.chown(".", 12345, 12345) or "changed",
    "a file that lends its owner's rights": lambda: runs_as_owner(with_mode),
    "such a file, made at once": lambda: runs_as_owner(
        lambda path: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755)),
    "such a file by openat2": lambda: runs_as_owner(by_openat2),
    "the environment of the server": lambda: read(f"/proc/{t['server']}/environ"),
    "the command line of the server": lambda: read(f"/proc/{t['server']}/cmdline"),
    "the open files of the server": lambda: os.readlink(f"/proc/{t['server']}/fd/0"),
    "the root of the server": lambda: os.listdir(f"/proc/{t['server']}/root/"),
    "the memory of the server": lambda: memory_of(t["server"]),
    "the list of processes": others,
    "the environment of a process": lambda: read(f"/proc/{t['victim']}/environ"),
    "the memory of a process": lambda: memory_of(t["victim"]),
    "process_vm_readv": lambda: vm_read(t["victim"]),
    "an open file of a process": taken_file,
    "ptrace": traced,
    "a signal to a process": lambda: os.kill(t["victim"], signal.SIGTERM) or "sent",
    "a signal to the server": lambda: os.kill(t["server"], 0) or "sent",
    "a signal by a pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(t["victim"]), 15) or "sent",
    "TCP to a listener here": lambda: connect(socket.AF_INET, ("127.0.0.1", t["port"])),
    "TCP to a listener here by the proxy": by_proxy,
    "TCP to the outside": lambda: connect(socket.AF_INET, ("1.1.1.1", 443)),
    "TCP by IPv6": lambda: here("ipv6") and connect(socket.AF_INET6, ("2606:4700::1111", 443)),
    "multipath TCP": lambda: here("mptcp") and connect(
        socket.AF_INET, ("127.0.0.1", t["port"]), protocol=262),
    "TCP fast open": fast_open,
    "UDP": datagram,
    "raw sockets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "packets": lambda: socket.socket(17, socket.SOCK_RAW, 0),
    "the machine's interfaces": interfaces,
    "the machine's links by netlink": netlink,
    "vsock": lambda: here("vsock") and socket.socket(40, socket.SOCK_STREAM, 0),
    "an abstract unix socket": lambda: connect(socket.AF_UNIX, "\0" + here("abstract")),
    "a unix socket like Docker's": lambda: connect(socket.AF_UNIX, t["socket"]),
    "a datagram to a unix socket": datagram_to_unix,
    "a link in the place of its own socket": replaced_socket,
    "a link moved to its own sockets": moved_link,
    "the server's own sockets": lambda: os.listdir(os.path.dirname(run_folder) + "/s"),
    "a nested user namespace": lambda: alone(lambda: call("unshare", 0x10000000)),
    "a nested user namespace by clone": lambda: alone(by_clone),
    "clone3": lambda: call("clone3", 0, 0),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "a copy of a mount": lambda: call("open_tree", -100, b"/", 1),
    "setns": lambda: call("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
    "mknod": lambda: os.mknod("device", 0o20666, os.makedev(1, 3)) or "made",
    "chroot": lambda: os.chroot(".") or "changed",
    "keyctl": lambda: call("keyctl", 0, -3, 1),
    "io_uring": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(120)),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(120), 120),
    "perf": lambda: call("perf_event_open", ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "a kernel module": lambda: call("init_module", b"x", 1, b""),
    "the name of the machine": lambda: socket.sethostname(socket.gethostname()) or "changed",
    "becoming root": becoming_root,
}

BOMBS = {
    "a bomb of forks": forks,
    "a bomb of memory": private,
    "a bomb of shared memory": shared,
    "a bomb of nameless files": nameless,
    "a bomb of System V memory": system_v,
    "a bomb of six children": family,
    "one huge file": lambda: huge("huge", t["file"]),
    "a full /tmp": lambda: huge("/tmp/full", t["tmp"]),
    "a full folder for temporary files": lambda: huge(tempfile.gettempdir() + "/full", t["tmp"]),
    "full shared memory": lambda: huge("/dev/shm/full", t["tmp"]),
    "many temporary files": lambda: many(tempfile.gettempdir() + "/many", t["tmp"], 0),
    "many files": lambda: many("many", t["workspace"], 65536),
    "many empty files": lambda: many("empty", t["workspace"], 0),
}

# What is known to be open, and told as a gap: at a level, with a network, or where both are so.
KNOWN = {
    "the command line of the server": "landlock",
    "the list of processes": "landlock",
    "TCP to a listener here": "full",
    "TCP to the outside": "full",
    "TCP by IPv6": "full",
    "TCP fast open": "full",
    "UDP": "full",
    "the machine's interfaces": "full",
    "the machine's links by netlink": "full",
    "a unix socket like Docker's": "landlock full",
    "a datagram to a unix socket": "landlock full",
}


def outcome(attack):
    try:
        return "open", str(attack())
    except NotHere as error:
        return "inapplicable", str(error)
    except BaseException as error:
        return "refused", f"{type(error).__name__}: {error}"


def attack(name):
    """Tells how one of them ends, in a line."""
    kind, why = outcome((ATTACKS | BOMBS)[name])
    words = KNOWN.get(name, "nowhere").split()
    known = t["level"] == "none" or all(word in (t["level"], t["network"]) for word in words)
    print(json.dumps({"attack": name, "outcome": kind, "why": why[:200], "known": known}), flush=True)


def leave_behind():
    """Starts a process that holds a lock for as long as it lives, and that nothing asks to end."""
    import fcntl
    held = open("alive", "w")
    ready, tell_ready = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 65):
                if number not in (signal.SIGKILL, signal.SIGSTOP):
                    try:
                        signal.signal(number, signal.SIG_IGN)
                    except (OSError, ValueError):
                        pass
            fcntl.flock(held, fcntl.LOCK_EX)
            os.write(tell_ready, b"x")
            time.sleep(3600)
        os._exit(0)
    os.wait()
    os.read(ready, 1)
    print("left behind", flush=True)


print(json.dumps({"attacks": list(ATTACKS), "bombs": list(BOMBS)}), flush=True)
