package syscalls

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What boxer does when a signal ends a call has no counterpart that a test could arrange
// on Linux. So these tests say what they expect.

// TestAcceptInterrupted interrupts accept at the worst of times: when it has a connection
// in its hands.
func TestAcceptInterrupted(t *testing.T) {
	for _, tc := range []struct {
		name        string
		nonblocking bool
		again       func(l *sock) *sock // how the program goes on
	}{
		{name: "then accepts again", again: func(l *sock) *sock { return l.accept(0) }},
		{name: "then polls", again: func(l *sock) *sock {
			l.readable()
			return l.accept(0)
		}},
		{name: "non-blocking, then polls", nonblocking: true, again: func(l *sock) *sock {
			l.readable()
			return l.accept(0)
		}},
		{name: "then accepts without an address", again: func(l *sock) *sock {
			l.readable()
			fd, errno := l.call(unix.SYS_ACCEPT4, l.fdArg(), 0, 0, 0)
			if errno != 0 {
				l.s.t.Fatalf("accept: %v", errno)
			}
			return l.s.adopt(l.m, int(fd), unix.AF_INET)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			l := s.listener(s.b, "0.0.0.0:7000")
			if tc.nonblocking {
				unix.SetNonblock(l.fd, true)
			}
			s.b.installing = func(c *fakeCall) error {
				c.interrupt()
				return errGone
			}
			k := s.tcp(s.a)
			k.connect("B:7000")
			k.sockname()
			k.write("before it was accepted")
			if l.accept(0) != nil {
				t.Fatal("an interrupted accept has returned a connection")
			}
			s.b.installing = nil
			server := tc.again(l)
			if server == nil {
				t.Fatalf("the connection is lost: %v", s.lines)
			}
			if got, want := server.getname("getpeername", unix.SYS_GETPEERNAME),
				"A:P1"; got != want {
				t.Errorf("peer = %s, want %s", got, want)
			}
			if got, want := server.getname("getsockname", unix.SYS_GETSOCKNAME),
				"B:7000"; got != want {
				t.Errorf("own name = %s, want %s", got, want)
			}
			server.set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
			s.lines = nil
			server.read()
			server.write("answer")
			k.read()
			k.shutdown(unix.SHUT_WR)
			server.read()
			server.close()
			k.read()
			want := []string{server.name + ` read "before it was accepted"`, server.name + ` write "answer": ok`, `s2 read "answer"`,
				"s2 shutdown 1: ok", server.name + ` read ""`, server.name + " close", `s2 read ""`}
			if diff := sideBySide(want, s.lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAcceptInterruptedBeforeAnyone interrupts an accept that waits. It must not take the
// next connection.
func TestAcceptInterruptedBeforeAnyone(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	for range 20 {
		_, p := s.b.mem.take(128, nil)
		_, sp := s.b.mem.take(4, []byte{128, 0, 0, 0})
		r := s.b.start(l.thread, unix.SYS_ACCEPT4, l.fdArg(), p, sp, 0)
		r.c.interrupt()
		if _, errno := r.wait(t); errno != unix.EINTR {
			t.Fatal(errno)
		}
		k := s.tcp(s.a)
		k.connect("B:7000")
		server := l.accept(0)
		if server == nil {
			t.Fatalf("the connection is lost: %v", s.lines)
		}
		s.lines = nil
		talk(k, server)
		if got := strings.Join(s.lines, "\n"); !strings.Contains(got, `read "answer"`) {
			t.Error(got)
		}
	}
}

// TestAcceptInterruptedOften interrupts most of many accepts: each connection comes once.
// (In which order, depends on how soon the program accepts again: what is offered again
// comes last.)
func TestAcceptInterruptedOften(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	const count = 12
	var got, want []string
	for i := range count {
		k := s.tcp(s.a)
		k.connect("B:7000")
		k.write(fmt.Sprint(i))
		want = append(want, fmt.Sprintf("%q", fmt.Sprint(i)))
	}
	n := 0
	s.b.installing = func(c *fakeCall) error {
		if n++; n%3 != 0 {
			c.interrupt()
			return errGone
		}
		return nil
	}
	for i := 0; i < count; {
		server := l.accept(0)
		if server == nil {
			continue // a restart after the signal
		}
		s.lines = nil
		server.read()
		got = append(got, strings.TrimPrefix(s.lines[0], server.name+" read "))
		i++
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("connections %v, want %v", got, want)
	}
}

// TestAcceptNoRoom is accept at the limit of descriptors: Linux keeps the connection.
func TestAcceptNoRoom(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	s.b.installing = func(*fakeCall) error { return unix.EMFILE }
	k := s.tcp(s.a)
	k.connect("B:7000")
	k.write("hello")
	s.lines = nil
	l.accept(0)
	if got := s.lines[0]; got != "s1 accept: EMFILE" {
		t.Error(got)
	}
	s.b.installing = nil
	l.readable()
	server := l.accept(0)
	server.read()
	if got := s.lines[len(s.lines)-1]; !strings.HasSuffix(got, `read "hello"`) {
		t.Error(got)
	}
}

// TestReturnedListenerClosed closes the listener that an accepted connection could be
// returned to: as on Linux, the connection is reset.
func TestReturnedListenerClosed(t *testing.T) {
	s := boxedScript(t)
	l := s.listener(s.b, "0.0.0.0:7000")
	s.b.installing = func(c *fakeCall) error {
		c.interrupt()
		return errGone
	}
	k := s.tcp(s.a)
	k.connect("B:7000")
	l.accept(0)
	l.close()
	k.readable()
	s.lines = nil
	k.read()
	if got := s.lines[0]; got != "s2 read: ECONNRESET" {
		t.Error(got)
	}
}

// TestConnectInterrupted interrupts a blocking connect: the attempt goes on (connect(2),
// EINTR), and a second connect waits for it.
func TestConnectInterrupted(t *testing.T) {
	for _, tc := range []struct {
		name  string
		end   func(*world) // what becomes of the attempt
		again string
	}{
		{"then established", func(w *world) {}, "ok"},
		{"then refused", func(w *world) {
			w.net.mu.Lock()
			defer w.net.mu.Unlock()
			w.net.errnos[addrB] = unix.ECONNREFUSED
		}, "ECONNREFUSED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			s.listener(s.b, "0.0.0.0:7000")
			release := s.hold()
			k := s.tcp(s.a)
			r := k.withAddr(unix.SYS_CONNECT, "B:7000")
			<-s.net.dialled
			r.c.interrupt()
			if _, errno := r.wait(t); errno != unix.EINTR {
				t.Fatal(errno)
			}
			tc.end(s.world)
			wait := k.connectLater("B:7000")
			release()
			s.lines = nil
			wait()
			k.soError()
			want := []string{"s2 connect B:7000: " + tc.again, "s2 SO_ERROR = ok"}
			if diff := sideBySide(want, s.lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// hold keeps connects to b from being answered until the returned function is called.
// Their beginning is told to net.dialled.
func (w *world) hold() (release func()) {
	wait := make(chan struct{})
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	w.net.silent[addrB] = wait
	w.net.dialled = make(chan netip.AddrPort, 64)
	return func() { close(wait) }
}

// TestConnectPending looks at a socket from the start of a connect to its end.
func TestConnectPending(t *testing.T) {
	for _, tc := range []struct {
		name  string
		errno unix.Errno
		want  []string
	}{
		{"established", 0, []string{"s2 poll: OUT", "s2 SO_ERROR = ok",
			"s2 connect B:7000: ok", "s2 connect B:7000: EISCONN"}},
		{"timed out", unix.ETIMEDOUT, []string{"s2 poll: IN|OUT|ERR|HUP|RDHUP",
			"s2 SO_ERROR = ETIMEDOUT", "s2 SO_ERROR = ok"}},
		{"unreachable", unix.EHOSTUNREACH,
			[]string{"s2 poll: IN|OUT|ERR|HUP|RDHUP", "s2 SO_ERROR = EHOSTUNREACH",
				"s2 SO_ERROR = ok"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			s.listener(s.b, "0.0.0.0:7000")
			release := s.hold()
			k := s.tcpNB(s.a)
			s.lines = nil
			k.connect("B:7000")
			<-s.net.dialled
			k.poll()
			k.soError()
			k.connect("B:7000")
			k.peername()
			s.net.mu.Lock()
			s.net.errnos[addrB] = tc.errno
			s.net.mu.Unlock()
			release()
			k.await(unix.POLLOUT)
			k.soError()
			if tc.errno != 0 {
				k.soError()
			} else {
				k.connect("B:7000")
				k.connect("B:7000")
			}
			want := append([]string{"s2 connect B:7000: EINPROGRESS", "s2 poll: none",
				"s2 SO_ERROR = ok",
				"s2 connect B:7000: EALREADY", "s2 getpeername: ENOTCONN"}, tc.want...)
			if diff := sideBySide(want, s.lines); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestConnectGivenUp lets a program lose interest in a pending connect in all ways there
// are. The far side must not keep the connection, and hear nothing of it if that can be
// noticed in time.
func TestConnectGivenUp(t *testing.T) {
	for name, giveUp := range map[string]func(*sock){
		"close":    func(k *sock) { k.shut() },
		"shutdown": func(k *sock) { unix.Shutdown(k.fd, unix.SHUT_RDWR) },
		"disconnect": func(k *sock) {
			_, p := k.m.mem.take(16, nil)
			if _, errno := k.call(unix.SYS_CONNECT, k.fdArg(), p, 16); errno != 0 {
				k.s.t.Error(errno)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := boxedScript(t)
			l := s.listener(s.b, "0.0.0.0:7000")
			release := s.hold()
			k := s.tcpNB(s.a)
			k.connect("B:7000")
			<-s.net.dialled
			giveUp(k)
			if name != "shutdown" {
				eventually(t, "the attempt ends",
					func() bool { return s.a.node.entries() == noEntries })
			}
			release()
			if name == "shutdown" {
				server := l.accept(0)
				server.readable() // it ends
				if n, err := unix.Read(server.fd, make([]byte, 1)); n > 0 || err != nil &&
					!errors.Is(err, unix.ECONNRESET) {
					t.Errorf("read: %d, %v", n, err)
				}
				server.close()
			}
			s.lines = nil
			l.poll()
			if got := s.lines[0]; got != l.name+" poll: none" {
				t.Error(got)
			}
			eventually(t, "nothing is left",
				func() bool {
					return s.a.node.entries() == noEntries &&
						s.b.node.entries() == noEntries
				})
		})
	}
}

// TestCloseNode closes a node with calls that wait and connections that run.
func TestCloseNode(t *testing.T) {
	s := boxedScript(t)
	client, server := s.pair()
	l := s.listener(s.a, "0.0.0.0:7001")
	k := s.tcp(s.a)
	_, p := s.a.mem.take(128, nil)
	_, sp := s.a.mem.take(4, []byte{128, 0, 0, 0})
	accept := s.a.start(l.thread, unix.SYS_ACCEPT4, l.fdArg(), p, sp, 0)
	connect := k.withAddr(unix.SYS_CONNECT, "203.0.113.200:7000")
	var closed error
	within(t, "the node to close", func() { closed = s.a.node.Close() })
	if closed != nil {
		t.Error(closed)
	}
	s.a.node.gates.v4.fds, s.a.node.gates.v6.fds = nil, nil // for the test's own Close
	for _, r := range []*running{accept, connect} {
		if _, errno := r.wait(t); errno != unix.EINTR {
			t.Errorf("a call that waited: %v, want EINTR", errno)
		}
	}
	for _, k := range []*sock{client, server} {
		s.lines = nil
		k.read()
		if got := s.lines[0]; got != k.name+" read: ECONNRESET" {
			t.Error(got)
		}
	}
}
