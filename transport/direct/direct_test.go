package direct

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { natlab.Main(m) }

// A node is a host with a Port.
type node struct {
	*natlab.Host
	port *Port
}

func newNode(t *testing.T, h *natlab.Host, err error) node {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	n := node{Host: h}
	if err := h.Do(func() (err error) {
		n.port, err = OpenPort()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.port.Close() })
	return n
}

// try runs a trial from a to b.
func try(t *testing.T, a, b node, lan bool) (Path, error) {
	t.Helper()
	from, to := a.External(), b.External()
	if lan {
		from, to = a.Addr(), b.Addr()
	}
	dialler, acceptor := net.Pipe()
	accepted := make(chan error, 1)
	go func() {
		accepted <- b.Do(func() error {
			return Accept(t.Context(), acceptor, b.port, from, 0)
		})
	}()
	var path Path
	err := a.Do(func() (err error) {
		path, err = Dial(t.Context(), dialler, to, lan, 0)
		return err
	})
	dialler.Close()
	if err := <-accepted; err != nil {
		t.Errorf("accept: %v", err)
	}
	return path, err
}

func TestTrial(t *testing.T) {
	t.Parallel()
	cone, symmetric := natlab.NAT{}, natlab.NAT{Mapping: natlab.Symmetric}
	reset := natlab.NAT{Reset: true}
	for _, tc := range []struct {
		name  string
		a, b  natlab.NAT
		works bool
	}{
		{"endpoint-independent NATs", cone, cone, true},
		{"the dialler's NAT is symmetric", symmetric, cone, false},
		{"the acceptor's NAT is symmetric", cone, symmetric, false},
		{"the acceptor's NAT answers RST", cone, reset, false},
		{"the dialler's NAT answers RST", reset, cone, true}, // to nothing that comes here
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			lab := natlab.ForTest(t)
			ha, err := lab.NATed(t.Context(), "a", tc.a)
			a := newNode(t, ha, err)
			hb, err := lab.NATed(t.Context(), "b", tc.b)
			b := newNode(t, hb, err)
			start := time.Now()
			path, err := try(t, a, b, false)
			t.Logf("%+v, %v after %v", path, err, time.Since(start))
			if !tc.works {
				if !errors.Is(err, ErrTrial) {
					t.Fatalf("got %+v, %v; want %v", path, err, ErrTrial)
				}
				return
			}
			want := Path{netip.AddrPortFrom(b.External(), b.port.Number()), SafeMSS}
			if err != nil || path != want {
				t.Fatalf("got %+v, %v; want %+v", path, err, want)
			}
		})
	}
}

func TestTrialOnLAN(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	r, err := lab.Router(t.Context(), "router", natlab.NAT{})
	if err != nil {
		t.Fatal(err)
	}
	ha, err := r.Host(t.Context(), "a")
	a := newNode(t, ha, err)
	hb, err := r.Host(t.Context(), "b")
	b := newNode(t, hb, err)
	path, err := try(t, a, b, true)
	want := Path{netip.AddrPortFrom(b.Addr(), b.port.Number()), 0}
	if err != nil || path != want {
		t.Fatalf("got %+v, %v; want %+v", path, err, want)
	}
}

// A router between the hosts drops large packets without a word.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	r, err := lab.Router(t.Context(), "router", natlab.NAT{BlackHole: 1450})
	if err != nil {
		t.Fatal(err)
	}
	var nodes [2]node
	for i, name := range []string{"a", "b"} {
		h, err := r.Host(t.Context(), name)
		nodes[i] = newNode(t, h, err)
		if err := h.SendSingly(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	path, err := try(t, nodes[0], nodes[1], true)
	if err != nil || path.MSS != SafeMSS {
		t.Fatalf("got %+v, %v; want an MSS of %d", path, err, SafeMSS)
	}
}

// The kernel answers nothing to strangers who connect to a Port.
func TestStranger(t *testing.T) {
	t.Parallel()
	lab := natlab.ForTest(t)
	ha, err := lab.Public(t.Context(), "a")
	a := newNode(t, ha, err)
	hb, err := lab.Public(t.Context(), "b")
	b := newNode(t, hb, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c, err := a.Dial(ctx, "tcp", netip.AddrPortFrom(b.Addr(), b.port.Number()).String())
	var timeout interface{ Timeout() bool }
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, %v; want no answer at all", c, err)
	}
	free := netip.AddrPortFrom(b.Addr(), 9)
	if _, err = a.Dial(t.Context(), "tcp",
		free.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("where nobody listens: got %v, want %v", err, unix.ECONNREFUSED)
	}
}

// The dialler that goes away ends the trial.
func TestControlEnds(t *testing.T) {
	port, err := OpenPort()
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	dialler, acceptor := net.Pipe()
	acceptor.Close()
	if _, err := Dial(t.Context(), dialler, netip.MustParseAddr("127.0.0.1"), true,
		0); err == nil || errors.Is(err, ErrTrial) {
		t.Errorf("Dial: got %v, want an error of the control stream", err)
	}
	dialler, acceptor = net.Pipe()
	dialler.Close()
	if err := Accept(t.Context(), acceptor, port, netip.MustParseAddr("127.0.0.1"),
		0); err == nil {
		t.Error("Accept: no error without a control stream")
	}
}
