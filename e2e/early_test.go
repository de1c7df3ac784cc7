package e2e

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestConnectTakesNoRoundTrip connects to a listener that the far node has announced, 80
// ms of round trip away: kernel TCP would take one for the connect, and two until the
// first byte.
func TestConnectTakesNoRoundTrip(t *testing.T) {
	if native {
		t.Skip("kernel TCP takes the round trip")
	}
	// through both NATs, there and back
	const oneWay, roundTrip = 20 * time.Millisecond, 80 * time.Millisecond
	c := newCloud(t)
	far := natlab.NAT{Mapping: natlab.EndpointIndependent, Delay: oneWay}
	server, client := c.function("db", far), c.function("app", far)
	serving := server.start("/usr/bin/python3", "-c", `
import socket
l = socket.create_server(("", 7), backlog=128)
print("listening", flush=True)
while True:
    c, _ = l.accept()
    b = c.recv(1)
    if b: c.sendall(b)
    c.close()`)
	serving.Expect(`^listening`)
	client.reach("db:7")
	out := client.python(`
import socket, time
def once():
    start = time.monotonic()
    s = socket.socket()
    s.connect(addr)
    connected = time.monotonic()
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    end = time.monotonic()
    s.close()
    return connected - start, end - start
addr = socket.getaddrinfo("db", 7, socket.AF_INET, socket.SOCK_STREAM)[0][4]
once() # makes the path, and waits until the listener is announced
times = [once() for _ in range(9)]
for column in zip(*times): print(sorted(column)[4])`)
	var got []time.Duration
	for _, field := range strings.Fields(out) {
		seconds, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, time.Duration(seconds*float64(time.Second)))
	}
	if len(got) != 2 {
		t.Fatalf("got %q, want two times", out)
	}
	t.Logf("connect %v, with the first byte %v; round trip %v", got[0], got[1], roundTrip)
	if got[0] > roundTrip/2 {
		t.Errorf("a connect takes %v, at a round trip of %v", got[0], roundTrip)
	}
	if got[1] < roundTrip || got[1] > roundTrip*3/2 {
		t.Errorf("the first byte takes %v, want little more than the round trip of %v",
			got[1], roundTrip)
	}
}
