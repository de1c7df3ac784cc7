package coordinator

import (
	"bytes"
	"net"
	"testing"
	"time"
)

// willOf returns the node's will.
func willOf(t *testing.T, g *guest) Will {
	t.Helper()
	var will Will
	g.OnWill(func(w Will) { will = w })
	if will.Message == nil {
		t.Fatal("it makes no will")
	}
	return will
}

func sendWill(t *testing.T, w Will) {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(w.Server))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(w.Message); err != nil {
		t.Fatal(err)
	}
}

// The others hear at once of a node whose will is sent, from any address; wills that
// are forged, or of a connection before, do nothing.
func TestWill(t *testing.T) {
	noLeaks(t)
	path := restartable(t)
	l := newLab(t, ServerConfig{State: load(t, path), Lease: time.Minute})
	u := l.url(t)
	a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
	forged := willOf(t, b)
	msg, err := newWill(a.Self().ID, "guess")
	if err != nil {
		t.Fatal(err)
	}
	sendWill(t, Will{forged.Server, msg})
	broken := bytes.Clone(willOf(t, a).Message)
	broken[len(broken)-1] ^= 1
	sendWill(t, Will{forged.Server, broken})
	for n := range broken {
		sendWill(t, Will{forged.Server, broken[:n]})
	}

	// After a restart of the coordinator there is another will.
	wills := make(chan Will, 10)
	a.OnWill(func(w Will) { wills <- w })
	old := <-wills
	l.stop()
	b.offline(t)
	newLab(t, ServerConfig{State: load(t, path), Lease: time.Minute})
	anew := <-wills
	if bytes.Equal(old.Message, anew.Message) {
		t.Error("the will is the same after a restart of the coordinator")
	}
	sendWill(t, old)
	if err := b.Signal(within(t, patience), a.Self().ID, []byte("hello")); err != nil {
		t.Errorf("a is gone: %v", err)
	}
	if s := <-a.signals; string(s.Data) != "hello" {
		t.Errorf("got %q", s.Data)
	}

	a.vanish(t)
	began := time.Now()
	sendWill(t, anew)
	b.sees(t, a.Self().ID, false)
	t.Logf("b knows after %v", time.Since(began))
	if got := mustEnter(t, u, "a").Self().Addr; got != a.Self().Addr {
		t.Errorf("the next one has %v, want %v", got, a.Self().Addr)
	}
}

func FuzzParseWill(f *testing.F) {
	msg, err := newWill(7, "key")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(msg)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, id, ok := parseWill(b); ok && (m == nil || m.Type != bindingIndication) {
			t.Fatalf("id %d of %+v", id, m)
		}
	})
}
