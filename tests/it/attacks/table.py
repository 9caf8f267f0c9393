"""The attacks. `t` holds what the test has laid out; each attack ends by an exception (blocked) or
returns what it has got (a leak)."""
import ctypes, os, signal, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
run_folder = os.path.dirname(sys.argv[2])


def call(number, *args):
    got = libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    if got < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return got


def read(path):
    with open(path, "rb") as file:
        return file.read(200)


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
    make(t["outside"], name)
    return read(name)


def fast_open():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as peer:
        peer.settimeout(3)
        return peer.sendto(b"x", 0x20000000, ("127.0.0.1", t["port"]))


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
    raise OSError("refused in every form")


def datagram_to_unix():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        return peer.sendto(b"x", t["datagrams"])


def datagram():
    # Whether it has arrived only the test can see.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"x", ("127.0.0.1", t["udp"]))
    raise OSError("sent, but who knows where to")


def interfaces():
    names = [name for _, name in socket.if_nameindex()]
    if names == ["lo"]:
        raise OSError("only its own loopback")
    return names


def memory_of(pid):
    with open(f"/proc/{pid}/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(start)
        return memory.read(16)


def vm_read(pid):
    buffer = ctypes.create_string_buffer(8)
    ours = struct.pack("PP", ctypes.addressof(buffer), 8)
    theirs = struct.pack("PP", 0x400000, 8)
    return call(310, pid, ours, 1, theirs, 1, 0)


def replaced_socket():
    os.symlink(t["socket"], os.path.join(run_folder, "k-6"))
    return os.readlink(os.path.join(run_folder, "k-6"))


def moved_link():
    os.symlink(t["socket"], "link")
    os.rename("link", os.path.join(run_folder, "k-7"))
    return "moved"


def alone(attack):
    """In a process with one thread, as some calls want it."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.write(write_end, attempt(attack).encode())
        os._exit(0)
    os.wait()
    said = os.read(read_end, 1000).decode()
    if said.startswith("blocked"):
        raise OSError(said)
    return said


def forks():
    """How many processes it gets."""
    children = []
    try:
        while len(children) < 300:
            pid = os.fork()
            if pid == 0:
                signal.pause()
                os._exit(0)
            children.append(pid)
        return len(children)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def memory():
    held = []
    for _ in range(30):
        held.append(b"x" * (100 << 20))
    return len(held)


def huge_file(path):
    try:
        with open(path, "wb") as file:
            for _ in range(200):
                file.write(b"x" * (1 << 20))
            file.flush()
            return file.tell()
    finally:
        os.unlink(path)


ATTACKS = {
    "a key in the home": lambda: read(t["home"] + "/.ssh/key"),
    "a world-readable file of another home": lambda: read(t["other"]),
    "a file outside of the workspace": lambda: read(t["outside"]),
    "the system's passwords": lambda: read("/etc/shadow"),
    "the memory of the machine": lambda: read("/dev/mem"),
    "the disk": lambda: read("/dev/vda"),
    "a planted link": lambda: read("planted"),
    "a new link": lambda: linked(os.symlink, "new"),
    "a hard link": lambda: linked(os.link, "hard"),
    "writing outside": lambda: write(t["outside"]),
    "writing a new file outside": lambda: write(t["outside"] + ".new"),
    "writing a start file of the shell": lambda: write(t["home"] + "/.bashrc"),
    "writing into the system": lambda: write("/usr/husk-was-here"),
    "writing into the interpreter": lambda: write(sys.prefix + "/husk-was-here"),
    "changing the owner of a file": lambda: os.chown(".", 12345, 12345) or "changed",
    "the environment of the server": lambda: read(f"/proc/{t['server']}/environ"),
    "the command line of the server": lambda: read(f"/proc/{t['server']}/cmdline"),
    "the open files of the server": lambda: os.readlink(f"/proc/{t['server']}/fd/0"),
    "the root of the server": lambda: os.listdir(f"/proc/{t['server']}/root/"),
    "the memory of the server": lambda: memory_of(t["server"]),
    "the environment of a process": lambda: read(f"/proc/{t['victim']}/environ"),
    "the memory of a process": lambda: memory_of(t["victim"]),
    "process_vm_readv": lambda: vm_read(t["victim"]),
    "ptrace": lambda: call(101, 16, t["victim"], 0, 0),
    "a signal to a process": lambda: os.kill(t["victim"], signal.SIGTERM) or "sent",
    "a signal to the server": lambda: os.kill(t["server"], 0) or "sent",
    "a signal by a pidfd": lambda: signal.pidfd_send_signal(os.pidfd_open(t["victim"]), 15) or "sent",
    "TCP to a listener here": lambda: connect(socket.AF_INET, ("127.0.0.1", t["port"])),
    "TCP to a listener here by the proxy": by_proxy,
    "TCP to the outside": lambda: connect(socket.AF_INET, ("1.1.1.1", 443)),
    "TCP by IPv6": lambda: connect(socket.AF_INET6, ("2606:4700::1111", 443)),
    "multipath TCP": lambda: connect(socket.AF_INET, ("127.0.0.1", t["port"]), protocol=262),
    "TCP fast open": fast_open,
    "UDP": datagram,
    "raw sockets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "packets": lambda: socket.socket(17, socket.SOCK_RAW, 0),
    "the machine's interfaces": interfaces,
    "vsock": lambda: socket.socket(40, socket.SOCK_STREAM, 0),
    "an abstract unix socket": lambda: connect(socket.AF_UNIX, "\0" + t["abstract"]),
    "a unix socket like Docker's": lambda: connect(socket.AF_UNIX, t["socket"]),
    "a datagram to a unix socket": datagram_to_unix,
    "a link in the place of its own socket": replaced_socket,
    "a link moved to its own sockets": moved_link,
    "the server's own sockets": lambda: os.listdir(os.path.dirname(run_folder) + "/s"),
    "a nested user namespace": lambda: alone(lambda: call(272, 0x10000000)),
    "a nested user namespace by clone": lambda: call(56, 0x10000011, 0, 0, 0, 0),
    "clone3": lambda: call(435, 0, 0),
    "mount": lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None),
    "setns": lambda: call(308, os.open("/proc/self/ns/mnt", os.O_RDONLY), 0),
    "mknod": lambda: os.mknod("device", 0o20666, os.makedev(1, 3)) or "made",
    "chroot": lambda: os.chroot(".") or "changed",
    "keyctl": lambda: call(250, 0, -3, 1),
    "io_uring": lambda: call(425, 1, ctypes.create_string_buffer(120)),
    "userfaultfd": lambda: call(323, 1),
    "bpf": lambda: call(321, 0, ctypes.create_string_buffer(120), 120),
    "perf": lambda: call(298, ctypes.create_string_buffer(128), 0, -1, -1, 0),
    "a kernel module": lambda: call(175, b"x", 1, b""),
    "the name of the machine": lambda: socket.sethostname("x") or "changed",
    "becoming root": lambda: os.setresuid(0, 0, 0) or (os.getuid() != t["uid"] and "root") or blocked(),
    "a bomb of memory": memory,
    "one huge file": lambda: huge_file("huge"),
    "a full /tmp": lambda: huge_file("/tmp/full"),
}


def blocked():
    raise OSError("it was that already")


def attempt(attack):
    try:
        return f"LEAK {attack()!r}"
    except BaseException as error:
        return f"blocked {type(error).__name__}: {error}"


for name, attack in ATTACKS.items():
    print(f"{name} | {attempt(attack)}", flush=True)
