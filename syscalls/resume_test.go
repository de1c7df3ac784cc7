package syscalls

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// nobodyAsks is a Tracer that is told in vain.
type nobodyAsks struct{}

func (nobodyAsks) Called(r *Record) { r.Release() }

// tracedPair returns a node whose calls are traced, and both ends of a connection that
// holds little.
func tracedPair(t *testing.T) (s *script, program *os.File, far net.Conn) {
	t.Helper()
	s = boxedScript(t)
	s.a.node.Trace(NewTracing(nobodyAsks{}, []uintptr{unix.SYS_SENDTO, unix.SYS_RECVFROM},
		strace.Numbers{Native: map[string]uintptr{"sendto": unix.SYS_SENDTO,
			"recvfrom": unix.SYS_RECVFROM}}))
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	near.(*net.TCPConn).SetWriteBuffer(64 << 10)
	if program, err = near.(*net.TCPConn).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	far.(*net.TCPConn).SetReadBuffer(64 << 10)
	if err := unix.SetNonblock(int(program.Fd()), false); err != nil {
		t.Fatal(err)
	}
	return s, program, far
}

// A send that a signal has ended, and that the program's thread repeats at once, as the
// kernel does for SA_RESTART, goes on where it was.
func TestTracedSendIsResumed(t *testing.T) {
	const size, signals = 3 << 20, 20
	s, program, far := tracedPair(t)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 >> 10)
	}
	_, p := s.a.mem.take(size, data)
	got := make(chan []byte, 1)
	send := func() *fakeCall {
		c := newFakeCall(t, 1, unix.SYS_SENDTO, program.Fd(), p, size, 0, 0, 0)
		s.a.node.Answer(c)
		return c
	}
	c := send()
	for range signals {
		c.interrupt()
		if a := <-c.answer; !a.interrupted {
			t.Fatalf("the send has not waited: %+v", a)
		}
		c = send()
	}
	go func() {
		b, err := io.ReadAll(far)
		if err != nil {
			t.Error(err)
		}
		got <- b
	}()
	if a := <-c.answer; a.errno != 0 || a.value != size {
		t.Errorf("the last send: %+v", a)
	}
	unix.Shutdown(int(program.Fd()), unix.SHUT_WR)
	if b := <-got; !bytes.Equal(b, data) {
		t.Errorf("%d bytes have come, as they were sent: %t; want %d", len(b),
			bytes.Equal(b[:min(len(b), size)], data[:min(len(b), size)]), size)
	}
}

// What came for a receive that a signal has ended, the next one gets, in order.
func TestTracedReceiveIsResumed(t *testing.T) {
	const size = 64 << 10
	s, program, far := tracedPair(t)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7 >> 4)
	}
	go func() {
		for b := data; len(b) > 0; b = b[64:] {
			if _, err := far.Write(b[:64]); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	room, p := s.a.mem.take(200, nil)
	var got []byte
	for i := 0; len(got) < size; i++ {
		c := newFakeCall(t, 1, unix.SYS_RECVFROM, program.Fd(), p, 200, 0, 0, 0)
		if i%2 == 0 {
			go c.interrupt()
		}
		s.a.node.Answer(c)
		switch a := <-c.answer; {
		case a.interrupted:
		case a.errno != 0:
			t.Fatal(a.errno)
		default:
			got = append(got, room[:a.value]...)
		}
	}
	if !bytes.Equal(got, data) {
		t.Error("the bytes are not as they were sent")
	}
}
