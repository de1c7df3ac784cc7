package syscalls

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A fakeDirect leads to an address that a test has chosen, and to the fakeNet's stream
// where the connect comes to nothing.
type fakeDirect struct {
	net    *fakeNet
	to     netip.AddrPort
	dst    netip.AddrPort
	within time.Duration
	begun  func(port uint16) // nil: nothing happens

	src         netip.AddrPort
	established atomic.Bool
	given       atomic.Bool // up
	reset       atomic.Bool
}

func (d *fakeDirect) To() netip.AddrPort        { return d.to }
func (d *fakeDirect) MSS() int                  { return 1360 }
func (d *fakeDirect) Within(bool) time.Duration { return d.within }
func (d *fakeDirect) Begin(src netip.AddrPort, port uint16) error {
	d.src = src
	if d.begun != nil {
		d.begun(port)
	}
	return nil
}
func (d *fakeDirect) Established() func(sent, received uint64) {
	d.established.Store(true)
	return nil
}
func (d *fakeDirect) Stream() (Stream, error) {
	d.given.Store(true)
	return d.net.Dial(context.Background(), Opening{Source: d.src, Destination: d.dst})
}
func (d *fakeDirect) Reset()  { d.reset.Store(true) }
func (d *fakeDirect) Cancel() { d.reset.Store(true) }

// blackHole returns an address on loopback that answers nothing to a SYN.
func blackHole(t *testing.T) netip.AddrPort {
	t.Helper()
	g, err := newGate(localhost4, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.close() })
	return g.addr
}

// refusing returns an address on loopback where nobody listens.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	g, err := newGate(localhost4, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.close() })
	return g.closed
}

// dropping returns a socket at an address of loopback that drops the segments that have
// one of some flags of TCP's header (RFC 9293, section 3.1).
func dropping(t *testing.T, at netip.AddrPort, flags uint32) (fd int, own netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	const flagsAt = 13
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flagsAt},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flags, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}),
		bindTo(fd, unix.AF_INET, at))
	local, _, err2 := localName(fd)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return fd, local.Addr
}

// Flags of TCP's header.
const (
	tcpFlagSYN = 0x02
	tcpFlagACK = 0x10
)

// TestDirectSynRecv loses what acknowledges the far side's SYN: the program's socket has
// got a SYN and is in the state SYN_RECV, but the far side's is not established. The
// connection goes over the stream.
func TestDirectSynRecv(t *testing.T) {
	var d *fakeDirect
	var state int
	silent, to := dropping(t, netip.AddrPortFrom(localhost4, 0), tcpFlagSYN)
	if err := unix.Listen(silent, 1); err != nil {
		t.Fatal(err)
	}
	far, _ := dropping(t, to, tcpFlagACK)
	compareWith(t, nil, func(w *world) {
		w.a.node.directs.watched = true
		w.net.direct = func(dst netip.AddrPort) DirectDial {
			d = &fakeDirect{net: w.net, to: to, dst: dst, within: 50 * time.Millisecond}
			d.begun = func(port uint16) {
				program := netip.AddrPortFrom(localhost4, port)
				if err := connectTo(far, unix.AF_INET, program); !errors.Is(err,
					unix.EINPROGRESS) {
					t.Errorf("the far side's connect: %v", err)
				}
				m, _, err := w.a.node.diag.Connection(program, to)
				if err != nil {
					t.Error(err)
				}
				state = int(m.State)
			}
			return d
		}
	}, func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		k := s.tcp(s.a)
		k.connect("B:7000")
		k.sockname()
		k.peername()
		talk(k, l.accept(0))
	})
	if state != tcpSynRecv {
		t.Errorf("the program's socket is in state %d, want SYN_RECV", state)
	}
	if !d.given.Load() || d.established.Load() || d.reset.Load() {
		t.Errorf("%v was not given up in favour of the stream", d.dst)
	}
}

// TestDirectFallsBack connects where TCP does not get through: the connection goes over
// the stream, and the program sees what it sees on Linux, one connect.
func TestDirectFallsBack(t *testing.T) {
	var dials []*fakeDirect
	blocking := func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		k := s.tcp(s.a)
		k.connect("B:7000")
		k.sockname()
		k.peername()
		talk(k, l.accept(0))
	}
	nonblocking := func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7000")
		k := s.tcpNB(s.a)
		k.connect("B:7000")
		k.sockname()
		// The socket is at the gate before the program polls it.
		eventually(t, "the attempt is given up", func() bool {
			return !s.boxed || s.a.node.pendingConnects.empty()
		})
		k.await(unix.POLLOUT)
		k.soError()
		k.sockname()
		k.peername()
		talk(k, l.accept(0))
	}
	refused := func(s *script) {
		k := s.tcp(s.a)
		k.connect("B:7000")
		k.soError()
		k.peername()
		s.listener(s.b, "0.0.0.0:7000")
		k.connect("B:7000")
		k.peername()
	}
	limited := func(s *script) {
		k := s.tcp(s.a)
		l := s.listener(s.b, "0.0.0.0:7000")
		k.setTimeout(unix.SO_SNDTIMEO, 10000)
		k.connect("B:7000")
		k.peername()
		talk(k, l.accept(0))
	}
	for _, tc := range []struct {
		name string
		to   func(t *testing.T) netip.AddrPort
		run  func(*script)
	}{
		{"silence, blocking", blackHole, blocking},
		{"silence, non-blocking", blackHole, nonblocking},
		{"silence, nobody listens", blackHole, refused},
		{"silence, SO_SNDTIMEO", blackHole, limited},
		{"RST, blocking", refusing, blocking},
		{"RST, nobody listens", refusing, refused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dials = nil
			to := tc.to(t)
			compareWith(t, nil, func(w *world) {
				w.a.node.directs.watched = true
				w.net.direct = func(dst netip.AddrPort) DirectDial {
					d := &fakeDirect{net: w.net, to: to, dst: dst,
						within: 50 * time.Millisecond}
					dials = append(dials, d)
					return d
				}
			}, tc.run)
			if len(dials) == 0 {
				t.Fatal("no connection was to be direct")
			}
			// Another attempt of the same socket begins at the gate.
			if d := dials[0]; !d.given.Load() || d.established.Load() || d.reset.Load() {
				t.Errorf("%v was not given up in favour of the stream", d.dst)
			}
		})
	}
}

// A program that connects elsewhere meanwhile gets what it asks for.
func TestDirectGivenUp(t *testing.T) {
	to := blackHole(t)
	var d *fakeDirect
	compareWith(t, nil, func(w *world) {
		w.a.node.directs.watched = true
		w.net.direct = func(dst netip.AddrPort) DirectDial {
			if d != nil {
				return DirectDial(nil)
			}
			d = &fakeDirect{net: w.net, to: to, dst: dst, within: time.Hour}
			return d
		}
	}, func(s *script) {
		l := s.listener(s.b, "0.0.0.0:7001")
		k := s.tcpNB(s.a)
		k.connect("203.0.113.200:7000") // nobody answers
		_, p := s.a.mem.take(16, nil)   // AF_UNSPEC
		_, errno := k.call(unix.SYS_CONNECT, k.fdArg(), p, 16)
		k.printf("disconnect: %s", failed(errno))
		k.poll()
		k.connect("B:7001")
		k.await(unix.POLLOUT)
		k.soError()
		k.sockname()
		k.peername()
		talk(k, l.accept(0))
	})
	eventually(t, "the far side knows", func() bool { return d.reset.Load() })
	if d.given.Load() || d.established.Load() {
		t.Error("the connect that was given up has come to something")
	}
}
