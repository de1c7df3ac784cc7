package natlab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// soon bounds what must arrive, lost what must not.
const (
	soon = 10 * time.Second
	lost = 300 * time.Millisecond
)

// host returns the host that make makes, or ends the test.
func host(t *testing.T, make func() (*natlab.Host, error)) *natlab.Host {
	t.Helper()
	h, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func public(t *testing.T, lab *natlab.Lab, name string) *natlab.Host {
	t.Helper()
	return host(t, func() (*natlab.Host, error) { return lab.Public(t.Context(), name) })
}

func nated(t *testing.T, lab *natlab.Lab, name string, nat natlab.NAT) *natlab.Host {
	t.Helper()
	return host(t, func() (*natlab.Host, error) { return lab.NATed(t.Context(), name, nat) })
}

// A socket is a UDP socket on a host.
type socket struct {
	*testing.T
	net.PacketConn
}

func listen(t *testing.T, h *natlab.Host) socket {
	t.Helper()
	conn, err := h.ListenPacket(t.Context(), "udp4", "0.0.0.0:4000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return socket{t, conn}
}

func (s socket) send(text string, to netip.AddrPort) {
	s.Helper()
	if _, err := s.WriteTo([]byte(text), net.UDPAddrFromAddrPort(to)); err != nil {
		s.Fatal(err)
	}
}

// receive returns the next packet and where it came from, and false if none comes in that
// time.
func (s socket) receive(within time.Duration) (text string, from netip.AddrPort,
	ok bool) {
	s.Helper()
	if err := s.SetReadDeadline(time.Now().Add(within)); err != nil {
		s.Fatal(err)
	}
	b := make([]byte, 1500)
	n, addr, err := s.ReadFrom(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", netip.AddrPort{}, false
	}
	if err != nil {
		s.Fatal(err)
	}
	return string(b[:n]), addr.(*net.UDPAddr).AddrPort(), true
}

// want receives a packet with that text and returns where it came from.
func (s socket) want(text string) netip.AddrPort {
	s.Helper()
	got, from, ok := s.receive(soon)
	if !ok || got != text {
		s.Fatalf("received %q, %v; want %q", got, ok, text)
	}
	return from
}

// silence fails the test if a packet comes.
func (s socket) silence() {
	s.Helper()
	if got, from, ok := s.receive(lost); ok {
		s.Errorf("received %q from %v; want nothing", got, from)
	}
}

func port(h *natlab.Host) netip.AddrPort { return netip.AddrPortFrom(h.Addr(), 4000) }

func TestNATedHostsReachOnlyThePublic(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	server, a, b := public(t, lab, "server"), nated(t, lab, "a", natlab.NAT{}),
		nated(t, lab, "b", natlab.NAT{})
	ss, sa, sb := listen(t, server), listen(t, a), listen(t, b)

	sa.send("from a", port(server))
	mapped := ss.want("from a")
	if mapped.Addr() != a.External() || a.External() != a.Router().Addr() {
		t.Errorf("the server sees a at %v; its NAT is %v", mapped, a.External())
	}
	ss.send("answer", mapped)
	if from := sa.want("answer"); from != port(server) {
		t.Errorf("the answer came from %v, want %v", from, port(server))
	}

	sb.send("to the private address", port(a))
	sb.send("to the mapping that the server knows", mapped)
	sa.silence()
}

// punch lets two hosts learn their mappings from the server and send to each other's, and
// says who heard the other.
func punch(t *testing.T, natA, natB natlab.NAT) (aHears, bHears bool) {
	lab := natlab.ForTest(t)
	server, a, b := public(t, lab, "server"), nated(t, lab, "a", natA),
		nated(t, lab, "b", natB)
	ss, sa, sb := listen(t, server), listen(t, a), listen(t, b)
	sa.send("a", port(server))
	mappedA := ss.want("a")
	sb.send("b", port(server))
	mappedB := ss.want("b")

	// The first packet of one is what opens its NAT for the other, and may itself be
	// lost.
	sa.send("first", mappedB)
	sb.send("first", mappedA)
	sa.send("second", mappedB)
	_, _, aHears = sa.receive(lost)
	_, _, bHears = sb.receive(lost)
	return aHears, bHears
}

func TestPunch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b natlab.Mapping
		want bool
	}{
		{natlab.EndpointIndependent, natlab.EndpointIndependent, true},
		{natlab.EndpointIndependent, natlab.Symmetric, false},
		{natlab.Symmetric, natlab.Symmetric, false},
	} {
		t.Run(fmt.Sprintf("%v,%v", tc.a, tc.b), func(t *testing.T) {
			t.Parallel()
			a, b := punch(t, natlab.NAT{Mapping: tc.a}, natlab.NAT{Mapping: tc.b})
			if a != tc.want || b != tc.want {
				t.Errorf("a hears b: %v, b hears a: %v; want %v", a, b, tc.want)
			}
		})
	}
}

func TestMapping(t *testing.T) {
	t.Parallel()
	for _, m := range []natlab.Mapping{natlab.EndpointIndependent, natlab.Symmetric} {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			lab := natlab.ForTest(t)
			one, two, h := public(t, lab, "one"), public(t, lab, "two"),
				nated(t, lab, "h", natlab.NAT{Mapping: m})
			s1, s2, s := listen(t, one), listen(t, two), listen(t, h)
			same := func() netip.AddrPort {
				s.send("1", port(one))
				s.send("2", port(two))
				m1, m2 := s1.want("1"), s2.want("2")
				if (m1 == m2) != (m == natlab.EndpointIndependent) {
					t.Errorf("mappings %v and %v", m1, m2)
				}
				return m1
			}
			before := same()
			if err := h.Router().Rebind(t.Context()); err != nil {
				t.Fatal(err)
			}
			if after := same(); after == before {
				t.Errorf("mapping %v is the same after Rebind", after)
			}
			s1.send("to the old mapping", before)
			s.silence()
		})
	}
}

func TestMappingTimeout(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	const timeout = time.Second
	server, h := public(t, lab, "server"),
		nated(t, lab, "h", natlab.NAT{Timeout: timeout})
	ss, s := listen(t, server), listen(t, h)
	s.send("hello", port(server))
	mapped := ss.want("hello")
	ss.send("in time", mapped)
	s.want("in time")
	time.Sleep(timeout + timeout/2) // what is tested is that nothing happens for so long
	ss.send("too late", mapped)
	s.silence()
}

func TestSameRouter(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	a := nated(t, lab, "a", natlab.NAT{})
	b := host(t, func() (*natlab.Host, error) { return a.Router().Host(t.Context(), "b") })
	sa, sb := listen(t, a), listen(t, b)
	sa.send("lan", port(b))
	if from := sb.want("lan"); from != port(a) {
		t.Errorf("from %v, want %v", from, port(a))
	}
	if err := a.Cut(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	sa.send("cut", port(b))
	sb.silence()
}

func TestForward(t *testing.T) {
	lab := natlab.ForTest(t)
	client, h := public(t, lab, "client"), nated(t, lab, "h", natlab.NAT{})
	if err := h.Router().Forward(t.Context(), 4000, h); err != nil {
		t.Fatal(err)
	}
	if err := h.Router().Forward(t.Context(), 4000, client); err == nil {
		t.Error("forwarded to a host elsewhere")
	}
	sc, s := listen(t, client), listen(t, h)
	sc.send("in", netip.AddrPortFrom(h.External(), 4000))
	s.want("in")
}

func TestBlockAndCut(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	a, b, c := nated(t, lab, "a", natlab.NAT{}), public(t, lab, "b"), public(t, lab, "c")
	sa, sb, sc := listen(t, a), listen(t, b), listen(t, c)
	for _, step := range []struct {
		name   string
		do     func() error
		bHears bool
		cHears bool
	}{
		{"open", func() error { return nil }, true, true},
		{"cut a from b", func() error { return a.Cut(t.Context(), b) }, false, true},
		{"block b as well", func() error { return b.Block(t.Context()) }, false, true},
		{"mend", func() error { return b.Mend(t.Context(), a) }, false, true},
		{"unblock b", func() error { return b.Unblock(t.Context()) }, true, true},
		{"block a", func() error { return a.Block(t.Context()) }, false, false},
		{"unblock a", func() error { return a.Unblock(t.Context()) }, true, true},
		{"lose all of c", func() error { return c.SetLoss(t.Context(), 1) }, true, false},
		{"lose nothing of c", func() error { return c.SetLoss(t.Context(), 0) }, true, true},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		sa.send(step.name, port(b))
		sa.send(step.name, port(c))
		for _, far := range []struct {
			name string
			s    socket
			want bool
		}{{"b", sb, step.bHears}, {"c", sc, step.cHears}} {
			within := soon
			if !far.want {
				within = lost
			}
			if got, _, ok := far.s.receive(within); ok != far.want || ok &&
				got != step.name {
				t.Errorf("%s: %s hears %v %q, want %v", step.name, far.name, ok, got,
					far.want)
			}
		}
	}
}

func TestSetRate(t *testing.T) {
	lab := natlab.ForTest(t)
	a, b := public(t, lab, "a"), public(t, lab, "b")
	// bytes, bits per second: half a second, less the bucket
	const size, rate = 1 << 20, 16 << 20
	transfer := func() time.Duration {
		t.Helper()
		l, err := b.Listen(t.Context(), "tcp4", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return // and the other side finds nobody
			}
			defer conn.Close()
			_, _ = conn.Write(make([]byte, size))
		}()
		to := netip.AddrPortFrom(b.Addr(), uint16(l.Addr().(*net.TCPAddr).Port))
		conn, err := a.Dial(t.Context(), "tcp4", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := time.Now()
		var got int64
		if got, err = discard(conn); err != nil || got != size {
			t.Fatalf("read %d bytes: %v", got, err)
		}
		return time.Since(start)
	}
	if err := a.SetRate(t.Context(), rate); err != nil {
		t.Fatal(err)
	}
	limited := transfer()
	if limited < 300*time.Millisecond {
		t.Errorf("with a limit it took %v", limited)
	}
	if err := a.SetRate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if took := transfer(); took >= limited {
		t.Errorf("without a limit it took %v, with one %v", took, limited)
	}
}

func TestCapture(t *testing.T) {
	lab := natlab.ForTest(t)
	a, b := nated(t, lab, "a", natlab.NAT{}), public(t, lab, "b")
	sa, sb := listen(t, a), listen(t, b)
	var onHost, between int
	count := func(n *int) func([]byte) {
		return func(p []byte) {
			if p[0]>>4 == 4 && strings.Contains(string(p), "in the clear") {
				*n++
			}
		}
	}
	ca, err := a.Capture(count(&onHost))
	if err != nil {
		t.Fatal(err)
	}
	ci, err := lab.Capture(count(&between))
	if err != nil {
		t.Fatal(err)
	}
	sa.send("in the clear", port(b))
	sb.want("in the clear")
	for _, c := range []*natlab.Capture{ca, ci, ci} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if onHost != 1 || between != 2 {
		t.Errorf("seen %d times on the host and %d times on the internet, want 1 and 2",
			onHost, between)
	}
}

func TestNames(t *testing.T) {
	lab := natlab.ForTest(t)
	public(t, lab, "a")
	for _, name := range []string{"", "a", "lo", "eth0", "internet", "A", "1a",
		"sixteen-letters-", "a/b"} {
		if _, err := lab.Public(t.Context(), name); err == nil {
			t.Errorf("a host may be called %q", name)
		}
	}
	other := natlab.ForTest(t) // with names and addresses of its own
	public(t, other, "a")
}

func TestCommandErrorNamesCommandAndOutput(t *testing.T) {
	lab := natlab.ForTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lab.Public(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	h := public(t, lab, "b")
	if err := h.SetRate(t.Context(), 1<<62); err == nil ||
		!strings.Contains(err.Error(), "tc qdisc replace dev eth0") {
		t.Errorf("got %v, want an error with the command", err)
	}
}

func TestAddIPv6(t *testing.T) {
	lab := natlab.ForTest(t)
	a, b := public(t, lab, "a"), public(t, lab, "b")
	behind := nated(t, lab, "c", natlab.NAT{})
	var addrs [2]netip.Addr
	for i, h := range []*natlab.Host{a, b} {
		var err error
		if addrs[i], err = h.AddIPv6(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	l, err := a.Listen(t.Context(), "tcp6", netip.AddrPortFrom(addrs[0], 80).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := b.Dial(t.Context(), "tcp6", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if from := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); from != addrs[1] {
		t.Errorf("connected from %v, want %v", from, addrs[1])
	}
	if _, err := behind.AddIPv6(t.Context()); err == nil {
		t.Error("a host behind a router has IPv6")
	}
}
