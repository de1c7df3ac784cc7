package e2e

import (
	"context"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// echoing says hello to TCP connections, and to whom a datagram is from, at port 7008.
const echoing = `
import selectors, socket
t, u = socket.create_server(("0.0.0.0", 7008)), socket.socket(type=socket.SOCK_DGRAM)
u.bind(("0.0.0.0", 7008))
print("ready", flush=True)
s = selectors.DefaultSelector()
s.register(t, selectors.EVENT_READ)
s.register(u, selectors.EVENT_READ)
while True:
    for key, _ in s.select():
        if key.fileobj is u:
            data, peer = u.recvfrom(100)
            u.sendto(data, peer)
            continue
        c, _ = t.accept()
        c.settimeout(10)
        if c.recv(100) == b"reset":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        else:
            c.sendall(b"hello")
            c.shutdown(socket.SHUT_WR)
            while c.recv(100000):
                pass
        c.close()`

// ownAddress finds the host's own address as programs do, by a socket that is connected
// to the outside, and then uses it.
const ownAddress = `
import builtins, errno, select, socket, sys
far, own = (sys.argv[1], 7008), sys.argv[2]
def print(*words):
    builtins.print(*(str(w).replace(own, "OWN") for w in words))
def name(error):
    return errno.errorcode[error.errno]

for port in 7008, 53, 9:
    s = socket.socket(type=socket.SOCK_DGRAM)
    s.connect((far[0], port))
    print("udp", port, s.getsockname()[0] == own, s.getpeername() == (far[0], port))
    if port == 7008:
        s.settimeout(10)
        s.send(b"datagram")
        print(s.recv(100), s.getsockname()[0] == own)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.connect(("::ffff:" + far[0], 7008))
print("mapped", six.getsockname()[0] == "::ffff:" + own)

bound = socket.socket(type=socket.SOCK_DGRAM)
bound.bind((own, 0))
bound.settimeout(10)
bound.sendto(b"bound", far)
print(bound.recvfrom(100) == (b"bound", far))

def talk(source, family=socket.AF_INET, to=far):
    s = socket.socket(family)
    s.settimeout(10)
    if source:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(source)
    port = s.getsockname()[1]
    s.connect(to)
    said = s.getsockname()
    print("tcp", bool(source), said[0], port in (0, said[1]), s.getpeername() == to or s.getpeername())
    s.sendall(b"x" * 300000)
    print(s.recv(100), s.recv(100))
    s.shutdown(socket.SHUT_WR)
    s.close()

talk(None)
talk(("0.0.0.0", 0))
talk((own, 0))
talk((own, 7031))
talk(("0.0.0.0", 7032))
talk(("::", 0), socket.AF_INET6, ("::ffff:" + far[0], 7008, 0, 0))

listener = socket.create_server((own, 7033), reuse_port=True)  # a peer to peer node dials from there
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind((own, 7033))
s.connect(far)
print("from the listening port", s.getsockname())

s = socket.socket()
s.bind((own, 0))
s.setblocking(False)
print("not waiting", errno.errorcode[s.connect_ex(far)])
select.select([], [s], [], 10)
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), s.getpeername() == far)
s.setblocking(True)
s.sendall(b"reset")
try:
    print("read", s.recv(100))
except OSError as e:
    print("read", name(e))

for source in None, (own, 0), ("127.0.0.1", 0):
    s = socket.socket()
    if source:
        s.bind(source)
    try:
        s.connect((far[0], 7009))  # nobody listens
    except OSError as e:
        print("closed port", source, name(e))
`

// TestOwnAddress has programs find their own address by sockets that are connected to the
// outside: they announce it to others, and bind to it.
func TestOwnAddress(t *testing.T) {
	f := newCloud(t).function("app", punchable)
	far := must(t)(f.lab.Public(t.Context(), "far"))
	cmd := far.Command(context.Background(), "/usr/bin/python3", "-c", echoing)
	proctest.ForTest(t, "echo", cmd).Expect(`^ready$`)
	own := "$(getent ahostsv4 app | cut -d' ' -f1 | head -1)"
	got := f.run("sh", "-c", `exec /usr/bin/python3 -c "$1" "$2" `+own, "sh", ownAddress, far.Addr().String())
	const want = `udp 7008 True True
b'datagram' True
udp 53 True True
udp 9 True True
mapped True
True
tcp False OWN True True
b'hello' b''
tcp True OWN True True
b'hello' b''
tcp True OWN True True
b'hello' b''
tcp True OWN True True
b'hello' b''
tcp True OWN True True
b'hello' b''
tcp True ::ffff:OWN True True
b'hello' b''
from the listening port ('OWN', 7033)
not waiting EINPROGRESS
0 True
read ECONNRESET
closed port None ECONNREFUSED
closed port ('OWN', 0) ECONNREFUSED
closed port ('127.0.0.1', 0) EINVAL
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
