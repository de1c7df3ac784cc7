"""UDP echo server, and a client that uses unconnected, connected and message calls."""
import errno, hashlib, select, socket, sys, time

SIZES = (0, 1, 1200, 1473, 20_000, 65_507)


def server(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    print("listening on %s:%d" % s.getsockname(), flush=True)
    while True:
        data, ancillary, flags, peer = s.recvmsg(70_000)
        print("%d bytes from %s" % (len(data), peer[0]), flush=True)
        s.sendmsg([data[:1], data[1:]], [], 0, peer)


def ask(s, data, send, receive):
    """Sends until an answer comes: UDP may lose either. Large ones are cut by a full queue, too."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        send(data)
        while select.select([s], [], [], 0.5)[0]:
            answer, peer = receive()
            if answer == data:
                return peer
    raise SystemExit("no answer for %d bytes" % len(data))


def client(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    address = (socket.gethostbyname(host), port)
    c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    c.connect(address)
    for size in SIZES:
        data = hashlib.shake_128(b"%d" % size).digest(size)
        peer = ask(s, data, lambda d: s.sendto(d, address), lambda: s.recvfrom(70_000))
        assert peer == address, peer
        ask(c, data, c.send, lambda: (c.recv(70_000), None))
    assert c.getpeername() == address, c.getpeername()
    print("echoed %d sizes from %s to %s" % (len(SIZES), c.getsockname()[0], address[0]))

    # A closed port: the first datagram is sent, and the network's answer fails a later call.
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.connect((address[0], port + 1))
    for _ in range(600):
        try:
            closed.send(b"x")
            time.sleep(0.05)
        except OSError as e:
            print("closed port:", errno.errorcode[e.errno])
            return
    print("closed port: no error")


if sys.argv[1] == "server":
    server(int(sys.argv[2]))
else:
    client(sys.argv[2], int(sys.argv[3]))
