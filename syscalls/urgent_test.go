package syscalls

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestUrgent sends with MSG_OOB (tcp(7)), and looks at what the other program gets.
func TestUrgent(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  func(*script)
	}{
		{"a byte alone", func(s *script) {
			client, server := s.pair()
			client.writeUrgent("!")
			server.urgent()
			server.atMark()
			server.readUrgent()
			server.readUrgent()
			client.write("more")
			server.read()
		}},
		{"in the middle", func(s *script) {
			client, server := s.pair()
			client.write("before")
			client.writeUrgent("!")
			client.write("after")
			server.urgent()
			server.atMark()
			server.read()
			server.atMark()
			server.readUrgent()
			server.read()
			server.atMark()
		}},
		{"by the server, several", func(s *script) {
			client, server := s.pair()
			for i := range 5 {
				server.write("some")
				server.writeUrgent(fmt.Sprint(i))
				client.urgent()
				client.readUrgent()
				client.read()
			}
			server.write("the end")
			client.read()
			client.atMark()
		}},
		{"the last of several bytes", func(s *script) {
			client, server := s.pair()
			client.writeUrgent("several")
			server.urgent()
			server.read()
			server.readUrgent()
		}},
		{"inline", func(s *script) {
			client, server := s.pair()
			server.set(unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
			client.write("before")
			client.writeUrgent("!")
			server.urgent()
			client.write("after")
			server.pollBytes(12)
			server.readUrgent()
			server.read()
			server.atMark()
			server.read()
			server.atMark()
		}},
		{"both ways, then the end", func(s *script) {
			client, server := s.pair()
			client.writeUrgent("?")
			server.writeUrgent("!")
			client.urgent()
			server.urgent()
			client.readUrgent()
			server.readUrgent()
			client.shutdown(unix.SHUT_WR)
			server.read()
			server.writeUrgent("bye")
			server.shutdown(unix.SHUT_WR)
			client.urgent() // on boxer it comes later than the bytes before it
			client.read()
			client.readUrgent()
			client.read()
		}},
		{"not connected", func(s *script) {
			s.tcp(s.a).writeUrgent("!")
			l := s.listener(s.b, "0.0.0.0:7000")
			l.writeUrgent("!")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compare(t, nil, tc.run) })
	}
}

// Only a relay whose program sends urgent data asks for its place.
func TestUrgentIsNotExpected(t *testing.T) {
	s := boxedScript(t)
	client, server := s.pair()
	client.write("x")
	server.read()
	n := s.a.node
	expected := func() (expected int) {
		n.peers.mu.Lock()
		defer n.peers.mu.Unlock()
		for _, p := range n.peers.dialled {
			p.urgency.mu.Lock()
			if p.urgency.expect {
				expected++
			}
			p.urgency.mu.Unlock()
		}
		return expected
	}
	if got := expected(); got != 0 {
		t.Errorf("%d relays expect urgent data, before there is any", got)
	}
	client.writeUrgent("!")
	if got := expected(); got != 1 {
		t.Errorf("%d relays expect urgent data, want 1", got)
	}
}

// Urgent bytes keep their places in a stream that is not read at the pace it is written.
func TestUrgentInBulk(t *testing.T) {
	const pieces, size = 200, 3000
	s := boxedScript(t)
	client, server := s.pair()
	server.set(unix.SOL_SOCKET, unix.SO_OOBINLINE, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		text := strings.Repeat("x", size)
		for range pieces {
			client.writeAll(text)
			client.sendUrgent("!")
		}
		client.shut()
	}()
	defer func() { <-done }()
	f := os.NewFile(uintptr(server.fd), "server")
	server.fd = -1
	defer f.Close()
	b := make([]byte, 8<<10)
	got, marks := 0, 0
	for {
		// A read that waits would return the urgent byte of a mark that SIOCATMARK could
		// not see yet.
		ready := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil {
			t.Fatal(err)
		}
		mark, err := unix.IoctlGetInt(int(f.Fd()), unix.SIOCATMARK)
		if err != nil {
			t.Fatal(err)
		}
		n, err := f.Read(b)
		if n == 0 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if mark != 0 {
			if marks++; b[0] != '!' || (got+1)%(size+1) != 0 {
				t.Fatalf("%q at %d is urgent", b[0], got)
			}
		}
		for i, c := range b[:n] {
			if (c == '!') != ((got+i+1)%(size+1) == 0) {
				t.Fatalf("%q at %d", c, got+i)
			}
		}
		got += n
	}
	if got != pieces*(size+1) {
		t.Errorf("read %d bytes", got)
	}
	if marks == 0 {
		t.Error("no byte was urgent")
	}
	t.Logf("%d of %d marks seen: the kernel forgets the mark before", marks, pieces)
}

// writeUrgent sends with MSG_OOB.
func (k *sock) writeUrgent(text string) {
	k.s.t.Helper()
	n, errno := k.sendUrgent(text)
	if errno != 0 {
		k.printf("write urgent %q: %s", text, failed(errno))
		return
	}
	k.printf("write urgent %q: %d", text, n)
}

func (k *sock) sendUrgent(text string) (uintptr, unix.Errno) {
	_, p := k.m.mem.take(len(text), []byte(text))
	return k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(text)),
		unix.MSG_OOB|unix.MSG_NOSIGNAL, 0, 0)
}

// writeAll writes without a word, and waits.
func (k *sock) writeAll(text string) {
	if err := unix.Sendto(k.fd, []byte(text), unix.MSG_NOSIGNAL, nil); err != nil {
		k.s.t.Errorf("write: %v", err)
	}
}

// urgent waits for urgent data.
func (k *sock) urgent() {
	k.s.t.Helper()
	k.pollFor(unix.POLLPRI, int(patience.Milliseconds()))
	k.printf("urgent data")
}

func (k *sock) readUrgent() {
	k.s.t.Helper()
	var b [8]byte
	n, _, err := unix.Recvfrom(k.fd, b[:], unix.MSG_OOB|unix.MSG_DONTWAIT)
	if err != nil {
		k.printf("read urgent: %s", failed(asErrno(err)))
		return
	}
	k.printf("read urgent %q", b[:n])
}

func (k *sock) atMark() {
	k.s.t.Helper()
	v, err := unix.IoctlGetInt(k.fd, unix.SIOCATMARK)
	k.printf("at mark: %d %s", v, failed(asErrno(err)))
}

// pollBytes waits until so many bytes can be read.
func (k *sock) pollBytes(n int) {
	k.s.t.Helper()
	eventually(k.s.t, fmt.Sprintf("%d bytes have come", n), func() bool {
		got, err := unix.IoctlGetInt(k.fd, unix.SIOCINQ)
		if err != nil {
			k.s.t.Fatal(err)
		}
		return got >= n
	})
}
