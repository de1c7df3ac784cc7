package syscalls

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRelay looks at the ends of connections: what a program does at one, the other
// notices as over TCP.
func TestRelay(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known differences
		run   func(*script)
	}{
		{name: "half-close by the client", run: func(s *script) { halfClose(s.pair()) }},
		{name: "half-close by the server", run: func(s *script) {
			client, server := s.pair()
			halfClose(server, client)
		}},
		{name: "reset by the client", run: func(s *script) { reset(s.pair()) }},
		{name: "reset by the server", run: func(s *script) {
			client, server := s.pair()
			reset(server, client)
		}},
		{name: "reset after data", run: func(s *script) {
			client, server := s.pair()
			client.write("data")
			server.readable()
			client.resetOnClose()
			client.close()
			server.pollFor(unix.POLLRDHUP, 10000)
			server.pollFor(unix.POLLERR, 10000)
			server.read()
			server.read()
		}},
		{name: "reset while half closed", run: func(s *script) {
			client, server := s.pair()
			client.shutdown(unix.SHUT_WR)
			server.read()
			server.resetOnClose()
			server.close()
			client.readable()
			client.poll()
			client.read()
			client.read()
		}},
		{name: "close by the client", run: func(s *script) { closeFirst(s.pair()) }},
		{name: "close by the server", run: func(s *script) {
			client, server := s.pair()
			closeFirst(server, client)
		}},
		{name: "close with unread data", run: func(s *script) {
			client, server := s.pair()
			client.write("unread")
			server.readable()
			server.close()
			client.pollFor(unix.POLLHUP, 10000)
			client.poll()
			client.read()
			client.read()
			client.write("more")
		}},
		{name: "write to a peer that has closed", run: func(s *script) {
			client, server := s.pair()
			server.close()
			client.read()
			client.write("answered by a reset")
			client.pollFor(unix.POLLERR, 10000)
			client.poll()
			client.write("too late")
			client.read()
		}},
		{name: "shutdown of reading", run: func(s *script) {
			client, server := s.pair()
			server.shutdown(unix.SHUT_RD)
			server.read()
			client.write("x")
			client.poll()
			server.write("y")
			client.read()
		}},
		{name: "shutdown of both", run: func(s *script) {
			client, server := s.pair()
			client.shutdown(unix.SHUT_RDWR)
			server.read()
			server.poll()
			client.read()
			client.write("x")
			server.close()
		}},
		{name: "both half-close", run: func(s *script) {
			client, server := s.pair()
			client.write("last")
			client.shutdown(unix.SHUT_WR)
			server.write("words")
			server.shutdown(unix.SHUT_WR)
			client.read()
			server.read()
			client.read()
			server.read()
			client.pollFor(unix.POLLHUP, 10000)
			server.pollFor(unix.POLLHUP, 10000)
			client.poll()
			server.poll()
		}},
		{name: "the server ends first, with data on its way", run: func(s *script) {
			client, server := s.pair()
			for range 20 {
				server.write("a line")
			}
			server.close()
			client.readAll()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, tc.known, tc.run) })
	}
}

// halfClose lets one end stop to write, and the other go on.
func halfClose(one, other *sock) {
	one.write("all")
	one.shutdown(unix.SHUT_WR)
	one.write("no more")
	other.read()
	other.read()
	other.poll()
	for range 3 {
		other.write("answer")
		one.read()
	}
	one.poll()
	other.close()
	one.read()
	one.pollFor(unix.POLLHUP, 10000)
	one.poll()
	one.close()
}

// reset lets one end reset the connection.
func reset(one, other *sock) {
	one.resetOnClose()
	one.close()
	other.readable()
	other.poll()
	other.read()
	other.read()
	other.write("x")
	other.peername()
	other.soError()
}

// closeFirst lets one end close, and the other write all the same.
func closeFirst(one, other *sock) {
	one.close()
	other.read()
	other.poll()
	other.peername()
	other.writeUntilError()
	other.read()
	other.soError()
}

// writeUntilError writes to a peer that has closed its socket. Linux fails the second
// write; boxer the fourth, as the reset that answers the first has to be noticed at
// either end of the stream by one more.
func (k *sock) writeUntilError() {
	k.s.t.Helper()
	const most = 4
	for range most {
		err := unix.Sendto(k.fd, []byte("into the void"), unix.MSG_NOSIGNAL, nil)
		if err != nil {
			k.printf("write: %s", failed(asErrno(err)))
			return
		}
		// for POLLHUP, which comes if the peer's answer does
		unix.Poll([]unix.PollFd{{Fd: int32(k.fd)}}, 100)
	}
	k.printf("%d writes to nobody", most)
}

// readAll prints how many bytes come until the end.
func (k *sock) readAll() {
	n := 0
	for {
		k.readable()
		got, err := unix.Read(k.fd, make([]byte, 1024))
		if got <= 0 || err != nil {
			k.printf("read %d bytes, then %d, %v", n, got, err)
			return
		}
		n += got
	}
}

// TestRelayBulk carries 10 MB in both directions at once.
func TestRelayBulk(t *testing.T) {
	s := boxedScript(t)
	client, server := s.pair()
	const size = 10 << 20
	type result struct {
		sum [sha256.Size]byte
		err error
	}
	var ends [2]struct {
		sent     [sha256.Size]byte
		received chan result
	}
	for i, k := range []*sock{client, server} {
		fd := k.fd
		f := os.NewFile(uintptr(mustDup(t, fd)), "end")
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(i)}).Read(data)
		ends[i].sent = sha256.Sum256(data)
		ends[i].received = make(chan result, 1)
		go func() {
			io.Copy(f, bytes.NewReader(data))
			unix.Shutdown(fd, unix.SHUT_WR)
		}()
		go func() {
			defer f.Close()
			h := sha256.New()
			n, err := io.Copy(h, f)
			if err == nil && n != size {
				err = io.ErrUnexpectedEOF
			}
			ends[i].received <- result{[sha256.Size]byte(h.Sum(nil)), err}
		}()
	}
	for i := range ends {
		select {
		case r := <-ends[i].received:
			if r.err != nil || r.sum != ends[1-i].sent {
				t.Errorf("end %d received something else: %v", i, r.err)
			}
		case <-time.After(patience):
			t.Fatal("the transfer does not end")
		}
	}
}

func mustDup(t *testing.T, fd int) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestRelayBackPressure writes to a peer that does not read: the writer has to wait
// before much has piled up between the two, and nothing is lost.
func TestRelayBackPressure(t *testing.T) {
	s := boxedScript(t)
	client, server := s.pair()
	client.set(unix.SOL_SOCKET, unix.SO_SNDBUF, 64<<10)
	server.set(unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10)
	chunk := make([]byte, 64<<10)
	written := 0
	// Full is a socket that takes nothing for as long as the relay needs to empty it.
	for full := 0; full < 20; {
		n, err := unix.SendmsgN(client.fd, chunk, nil, nil,
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EAGAIN) {
			p := []unix.PollFd{{Fd: int32(client.fd), Events: unix.POLLOUT}}
			if n, _ := unix.Poll(p, 10); n == 0 {
				full++
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		full = 0
		// The loopback sockets' buffers grow up to net.ipv4.tcp_rmem and tcp_wmem: 6 and
		// 4 MB.
		if written += n; written > 64<<20 {
			t.Fatalf("%d bytes are on their way to nobody", written)
		}
	}
	s.net.mu.Lock()
	for _, stream := range s.net.streams {
		if most := stream.in.mostHeld(); most > streamWindow {
			t.Errorf("a stream held %d bytes", most)
		}
	}
	s.net.mu.Unlock()
	unix.Shutdown(client.fd, unix.SHUT_WR)
	s.lines = nil
	got := make(chan int)
	fd := server.fd
	go func() {
		total := 0
		for {
			n, err := unix.Read(fd, chunk)
			if n <= 0 || err != nil {
				got <- total
				return
			}
			total += n
		}
	}()
	select {
	case n := <-got:
		if n != written {
			t.Errorf("%d bytes written, %d read", written, n)
		}
	case <-time.After(patience):
		t.Fatal("the transfer does not end")
	}
}

func (d *direction) mostHeld() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.most
}
