"""Connects to an echo server by name, again and again: says "reached ADDRESS" when that has changed. With a line on its
input it makes twenty connections more and says how long they took."""
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


last = None
while not select.select([sys.stdin], [], [], 0.05)[0]:
    try:
        address = reach(1)
    except OSError:
        continue
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
