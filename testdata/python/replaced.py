"""Connects to an echo server by name, again and again. It says "reached ADDRESS" when the server answers, and "lost" when
it does not. With a line on its input it makes twenty connections more and says how long they took, and how a connection
from the beginning has ended."""
import errno
import select
import socket
import sys
import time

name, port = sys.argv[1], int(sys.argv[2])


def reach(limit):
    """Tries the name's first address, as most clients do, and returns it if it answers."""
    address = socket.getaddrinfo(name, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    with socket.create_connection(address, limit) as c:
        c.settimeout(limit)
        c.sendall(b"x")
        if c.recv(1) != b"x":
            raise OSError("closed")
    return address[0]


held = last = None
while not select.select([sys.stdin], [], [], 0.05)[0]:
    try:
        address = reach(1)
    except OSError:
        if last:
            last = None
            print("lost")
        continue
    if not held:
        held = socket.create_connection((address, port))
    if address != last:
        last = address
        print("reached", address)

sys.stdin.readline()
took, seen = [], set()
for _ in range(20):
    began = time.monotonic()
    try:
        seen.add(reach(10))
    except OSError as e:
        seen.add(str(e).replace(" ", "-"))
    took.append(time.monotonic() - began)
print(f"{len(took)} of 20 in {sum(took):.3f} s, at most {max(took):.3f} s each, addresses {' '.join(sorted(seen))}")
held.settimeout(10)
try:
    print("old connection:", held.recv(1))
except OSError as e:
    print("old connection:", errno.errorcode.get(e.errno, e))
