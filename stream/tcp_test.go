package stream_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/streamtest"
	"github.com/boxer-sandbox/boxer/stream"
)

// tcpPair returns both ends of a connection over loopback.
func tcpPair(t *testing.T) (a, b stream.Stream) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return newTCP(t, dialled), newTCP(t, accepted)
}

func newTCP(t *testing.T, c net.Conn) stream.Stream {
	t.Helper()
	s, err := stream.NewTCP(c.(*net.TCPConn))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTCP(t *testing.T) {
	streamtest.Test(t, streamtest.Abilities{}, tcpPair)
}

// TestTCPStopSendingAfterFIN has the peer reset after it has ended its own direction: no
// Read finds that reset.
func TestTCPStopSendingAfterFIN(t *testing.T) {
	a, b := tcpPair(t)
	defer a.Reset()
	called := make(chan struct{})
	a.OnStopSending(func() { close(called) })
	if err := b.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := a.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d, %v; want the end", n, err)
	}
	b.Reset()
	<-called
}

// TestTCPCloses holds that the socket is closed when both directions have ended.
func TestTCPCloses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newTCP(t, dialled), newTCP(t, accepted)
	for _, s := range []stream.Stream{a, b} {
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range []stream.Stream{a, b} {
		for range 2 {
			if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
				t.Fatalf("read %d, %v; want the end", n, err)
			}
		}
	}
	for _, c := range []net.Conn{dialled, accepted} {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the socket was not closed: %v", err)
		}
	}
}
