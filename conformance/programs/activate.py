"""Makes sockets as systemd would, starts an unboxed process beside, and becomes the command that it is given:
activate.py COMMAND..."""
import os, socket, sys, tempfile, threading

def tcp(family, address):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(address)
    return s

def own_address():
    """Returns the address of the host that packets to the outside come from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("203.0.113.1", 9))
        return s.getsockname()[0]

command = sys.argv[1:]
sockets = [tcp(socket.AF_INET, ("0.0.0.0", 80)), tcp(socket.AF_INET6, ("::", 81)), tcp(socket.AF_INET, (own_address(), 82)),
           tcp(socket.AF_INET, ("0.0.0.0", 83)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
for s in sockets[:3]:
    s.listen(4)
sockets[4].bind(("0.0.0.0", 84))

def serve(way):
    """Echoes a line on the socket that comes over way, or on what it accepts."""
    letter, fds, _, _ = socket.recv_fds(way, 1, 1)
    way.send(b"k")
    s = socket.socket(fileno=fds[0])
    s.setblocking(True)
    if letter == b"a":
        s = s.accept()[0]
    s.send(b"outside: " + s.makefile("rb").readline())
    s.close()

path = os.path.join(tempfile.mkdtemp(), "outside")
outside = socket.socket(socket.AF_UNIX)
outside.bind(path)
outside.listen(4)
parent = os.getpid()
if os.fork() == 0:
    for s in sockets:
        s.close()
    os.close(1)
    outside.settimeout(0.2)
    while os.getppid() == parent:
        try:
            threading.Thread(target=serve, args=(outside.accept()[0],), daemon=True).start()
        except TimeoutError:
            pass
    os.unlink(path)
    os.rmdir(os.path.dirname(path))
    os._exit(0)
outside.close()
high = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(sockets)), OUTSIDE=path)
os.execvp(command[0], command)
