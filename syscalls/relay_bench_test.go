package syscalls

import (
	"io"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// loopPair makes a loopback connection: the relay's end, and the program's.
func loopPair(b *testing.B) (relay *loopConn, program net.Conn) {
	b.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if program, err = net.Dial("tcp4", l.Addr().String()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { program.Close() })
	c, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	f, err := c.(*net.TCPConn).File()
	c.Close()
	if err != nil {
		b.Fatal(err)
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		b.Fatal(err)
	}
	if relay, err = newLoopConn(fd); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { relay.Close() })
	return relay, program
}

// BenchmarkRelayOut is the way of a program's bytes into a stream.
func BenchmarkRelayOut(b *testing.B) {
	relay, program := loopPair(b)
	const size = 1 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	done := make(chan error, 1)
	go func() {
		src, err := newTCPSource(relay)
		if err == nil {
			err = copyBytes(discard{}, src)
		}
		done <- err
	}()
	data := make([]byte, size)
	for b.Loop() {
		if _, err := program.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	program.Close()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRelayIn is the way of a stream's bytes to a program.
func BenchmarkRelayIn(b *testing.B) {
	relay, program := loopPair(b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{program},
			make([]byte, 128<<10))
	}()
	data := make([]byte, relayBuffer)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := relay.Write(data); err != nil {
			b.Fatal(err)
		}
	}
	relay.CloseWrite()
	<-done
}

// discard is a sink that drops all.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) MarkUrgent() error           { return nil }
