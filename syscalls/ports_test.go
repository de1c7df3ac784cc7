package syscalls

import (
	"net"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// unprivileged takes CAP_NET_BIND_SERVICE from the threads that answer the machines'
// calls, as far as they do not wait.
func unprivileged(w *world) {
	for _, m := range []*machine{w.a, w.b} {
		m.do = func(f func()) {
			done := make(chan error)
			go func() {
				runtime.LockOSThread() // for good: the thread ends with the goroutine
				err := dropBindService()
				if err == nil {
					f()
				}
				done <- err
			}()
			if err := <-done; err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// dropBindService takes the capability to bind to low ports from the calling thread.
func dropBindService() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&h, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_BIND_SERVICE
	return unix.Capset(&h, &data[0])
}

// TestMovedPorts is about ports that the host refuses. Programs do not notice.
func TestMovedPorts(t *testing.T) {
	for _, tc := range []struct {
		name string
		run  func(*script)
	}{
		{"wildcard", func(s *script) { serve(s, "0.0.0.0:80", "B:80") }},
		{"own address", func(s *script) { serve(s, "B:80", "B:80") }},
		{"dual stack", func(s *script) { serve(s, "[::]:80", "B:80") }},
		{"localhost", func(s *script) {
			l := s.listener(s.a, "127.0.0.1:80")
			k := s.tcp(s.a)
			k.connect("127.0.0.1:80")
			k.peername()
			server := l.accept(0)
			server.sockname()
			talk(k, server)
			s.tcp(s.a).connect("A:80")
		}},
		{"to itself", func(s *script) {
			l := s.listener(s.a, "0.0.0.0:80")
			for _, to := range []string{"127.0.0.1:80", "A:80"} {
				k := s.tcp(s.a)
				k.connect(to)
				k.peername()
				server := l.accept(0)
				server.sockname()
				talk(k, server)
			}
		}},
		{"from a low port", func(s *script) {
			l := s.listener(s.b, "0.0.0.0:7000")
			k := s.tcp(s.a)
			k.bind("A:513") // as rlogin(1)
			k.sockname()
			k.connect("B:7000")
			k.sockname()
			server := l.accept(0)
			server.peername()
			k.resetOnClose() // or the port is taken for a minute
			k.close()
		}},
		{"conflicts", func(s *script) {
			for _, first := range []string{"0.0.0.0:80", "A:80", "127.0.0.1:80"} {
				for _, second := range []string{"0.0.0.0:80", "A:80", "127.0.0.1:80"} {
					for _, opt := range []int{0, unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
						s.conflict(first, second, opt, opt, true)
					}
				}
			}
		}},
		{"again after close", func(s *script) {
			for range 3 {
				l := s.listener(s.b, "0.0.0.0:80")
				k := s.tcp(s.a)
				k.connect("B:80")
				server := l.accept(0)
				server.resetOnClose()
				server.close()
				l.close()
				s.tcp(s.a).connect("B:80")
			}
		}},
		{"shared by SO_REUSEPORT", func(s *script) {
			var ls [2]*sock
			for i := range ls {
				ls[i] = s.tcp(s.b)
				ls[i].set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
				ls[i].bind("0.0.0.0:85")
				ls[i].listen(64)
				unix.SetNonblock(ls[i].fd, true)
			}
			// The kernel deals out 64 connections, hardly all to one.
			for range 64 {
				k := s.tcp(s.a)
				k.connect("B:85")
			}
			at := len(s.lines)
			for _, l := range ls {
				s.printf("%s has some: %t", l.name, l.accept(0) != nil)
			}
			s.lines = append(s.lines[:at], s.lines[at+1], s.lines[at+3])
		}},
		{"moved and not", func(s *script) {
			// The address of a moved port is given to another, who gets it without.
			s.listener(s.b, "0.0.0.0:80").close()
			k := s.tcp(s.b)
			k.bind("0.0.0.0:0")
			k.sockname()
			serve(s, "0.0.0.0:80", "B:80")
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { compareWith(t, nil, unprivileged, tc.run) })
	}
}

// serve listens on b and lets a connect.
func serve(s *script, at, to string) {
	l := s.listener(s.b, at)
	l.sockname()
	k := s.tcp(s.a)
	k.connect(to)
	k.peername()
	server := l.accept(0)
	server.sockname()
	server.peername()
	talk(k, server)
}

// TestPortOfTheHost is about a port that a listener of the host has on all addresses, the
// node's among them. The node is to have it all the same.
func TestPortOfTheHost(t *testing.T) {
	compare(t, nil, func(s *script) {
		if s.boxed {
			l, err := net.Listen("tcp4", s.parse("0.0.0.0:7000").String())
			if err != nil {
				s.t.Fatal(err)
			}
			defer l.Close()
		}
		serve(s, "0.0.0.0:7000", "B:7000")
		s.conflict("0.0.0.0:7000", "0.0.0.0:7000", 0, 0, true)
		serve(s, "[::]:7001", "B:7001")
	})
}

// TestBindOutOfDescriptors binds while boxer has no descriptor to try ports with: the
// call waits for one. A port that cannot be tried is neither free nor taken.
func TestBindOutOfDescriptors(t *testing.T) {
	for _, tc := range []struct{ name, first, second string }{
		{"beside a rival", "A:7000", "0.0.0.0:7000"},
		{"free", "A:7001", "0.0.0.0:7000"},
		{"taken", "0.0.0.0:7000", "0.0.0.0:7000"},
		{"beside 127.0.0.2", "127.0.0.2:7000", "0.0.0.0:7000"},
		{"at 127.0.0.2", "0.0.0.0:7000", "127.0.0.2:7000"},
		{"any port", "A:7000", "0.0.0.0:0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			compare(t, nil, func(s *script) {
				s.tcp(s.a).bind(tc.first)
				k := s.tcp(s.a)
				if !s.boxed {
					k.bind(tc.second)
					return
				}
				sa := encode(k.domain, s.parse(tc.second))
				_, p := s.a.mem.take(len(sa), sa)
				c := newFakeCall(s.t, k.thread, unix.SYS_BIND, k.fdArg(), p, uintptr(len(sa)))
				var r reply
				outOfDescriptors(t, func() {
					r = s.a.node.bindSocket(c, &progSocket{fd: k.fd})
				})
				if r.kind != replyWait {
					t.Errorf("out of descriptors, bind was answered at once: %+v", r)
					return
				}
				r = r.wait(t.Context(), c)
				k.printf("bind %s: %s", tc.second, failed(r.errno))
			})
		})
	}
}

// TestRecordedPairs is about the addresses at which pairs of sockets meet: those of open
// sockets are kept, however many there are.
func TestRecordedPairs(t *testing.T) {
	at := netip.MustParseAddr("127.0.0.5")
	pair := func(i int) addrPair {
		return addrPair{own: netip.AddrPortFrom(localhost4, uint16(i))}
	}
	for _, tc := range []struct {
		name string
		open func(port int) bool // nil: nobody knows
		kept func(port int) bool
	}{
		{"all are open", func(int) bool { return true }, func(int) bool { return true }},
		{"the odd ones are open", func(p int) bool { return p%2 == 1 },
			func(p int) bool { return p%2 == 1 || p >= minRecorded }},
		{"nobody knows", nil, func(p int) bool { return p >= minRecorded }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p ports
			if tc.open != nil {
				p.exists = func(a addrPair) bool { return tc.open(int(a.own.Port())) }
			}
			for i := range minRecorded + 1 {
				p.recordPeer(pair(i), localhost4, at)
			}
			for i := range minRecorded + 1 {
				a := pair(i)
				_, ok := p.recordedPeer(a.own, a.far)
				if want := tc.kept(i); ok != want {
					t.Fatalf("pair %d: recorded is %t, want %t", i, ok, want)
				}
			}
		})
	}
}
