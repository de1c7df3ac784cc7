package coordinator

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// restartable returns the state of a coordinator that is kept in a file.
func restartable(t *testing.T) string { return filepath.Join(t.TempDir(), "state") }

func load(t *testing.T, path string) *State {
	t.Helper()
	s, err := LoadOrCreateState(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// offline waits until the guest has noticed that the coordinator is gone.
func (g *guest) offline(t *testing.T) {
	t.Helper()
	g.Client.mu.Lock()
	n := g.session
	g.Client.mu.Unlock()
	if n == nil {
		return
	}
	select {
	case <-n.conn.Context().Done():
	case <-time.After(patience):
		t.Fatal("the connection is still there")
	}
}

// A coordinator that is stopped, or killed, and started again gets its nodes back
// as who they were; they keep what they know meanwhile, and hear of nobody's
// going who comes back.
func TestRestart(t *testing.T) {
	for name, end := range map[string]func(*lab){"stopped": (*lab).stop,
		"killed": func(l *lab) { l.kill(t) }} {
		t.Run(name, func(t *testing.T) {
			virtualTime(t, func(t *testing.T) {
				path := restartable(t)
				l := newLab(t, ServerConfig{State: load(t, path), Lease: 2 * time.Second})
				u := l.url(t)
				a, b, lost := mustEnter(t, u, "a"), mustEnter(t, u, "b"),
					mustEnter(t, u, "lost")
				for _, g := range []*guest{a, b} {
					if err := g.Wait(within(t, patience), "lost", 1); err != nil {
						t.Fatal(err)
					}
				}
				reflexive := a.Reflexive()
				end(l)
				if name == "stopped" { // who is not told, notices when the next one answers
					a.offline(t)
				}
				if got := ids(a.LookupName("b")); !slices.Equal(got, []uint32{2}) {
					t.Errorf("without a coordinator, b means %v", got)
				}
				lost.vanish(t)

				l = newLab(t, ServerConfig{State: load(t, path), Lease: 2 * time.Second})
				if l.url(t) != u {
					t.Fatalf("the join URL changed from %v to %v", u, l.url(t))
				}
				// Waits for the connection, or goes down with the old one.
				if err := a.Signal(within(t, patience), 2, []byte("back?")); err != nil &&
					!errors.Is(err, ErrNoNode) && !errors.Is(err, ErrDisconnected) {
					t.Fatal(err)
				}
				fresh := mustEnter(t, u, "fresh")
				if fresh.Self().ID <= 3 {
					t.Errorf("a newcomer got id %d, which may be coming back",
						fresh.Self().ID)
				}
				for _, g := range []*guest{a, b} {
					g.sees(t, fresh.Self().ID, true)
					g.sees(t, lost.Self().ID, false) // a lease after the start
					if g.Reflexive() != g.socket.LocalAddr() {
						t.Errorf("reflexive address %v", g.Reflexive())
					}
				}
				if h := a.history(2); !slices.Equal(h, []bool{true}) {
					t.Errorf("what a was told of b: %v, want that it came, once", h)
				}
				want := []uint32{1, 2, fresh.Self().ID}
				for _, g := range []*guest{a, b, fresh} {
					g.until(t, func() bool { return slices.Equal(ids(g.Members()), want) })
				}
				snapshot := l.Snapshot()
				if got := ids(snapshot.Members); !slices.Equal(got, want) {
					t.Errorf("the coordinator has %v, want %v", got, want)
				}
				if m := snapshot.Members[0]; !m.same(a.Self()) ||
					!m.Since.Equal(a.Self().Since) {
					t.Errorf("a came back as %+v, was %+v", m, a.Self())
				}
				if a.Reflexive() != reflexive {
					t.Errorf("reflexive address was %v, is %v", reflexive, a.Reflexive())
				}
				if err := a.Signal(within(t, patience), 2, []byte("hello")); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A report is told to the next coordinator too.
func TestReportSurvivesRestart(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path)})
		a := mustEnter(t, l.url(t), "a")
		a.Report([]PathReport{{Peer: 9, Kind: "lan",
			Remote: netip.MustParseAddrPort("192.0.2.1:7")}}, About{})
		l.stop()
		l = newLab(t, ServerConfig{State: load(t, path)})
		deadline := time.Now().Add(patience)
		for {
			if m := l.Snapshot().Members; len(m) == 1 && len(m[0].Paths) == 1 &&
				m[0].Paths[0].Peer == 9 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not reported: %+v", l.Snapshot())
			}
			time.Sleep(time.Millisecond)
		}
	})
}

// Who comes back when its address belongs to somebody else is told so, and is no
// member any more; both at once never happens.
func TestEvicted(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		prefix := netip.MustParsePrefix("192.168.7.0/30") // one node
		const lease = 300 * time.Millisecond
		l := newLab(t, ServerConfig{State: load(t, path), Prefix: prefix, Lease: lease})
		u := l.url(t)
		w := newWire(t, l.cfg.Socket.LocalAddr())
		through := u
		through.Host = w.addr.String()
		a := mustEnter(t, through, "a")
		w.sever(true)
		l.kill(t)

		// While it is new, the coordinator keeps the address for a, who is away.
		l = newLab(t, ServerConfig{State: load(t, path), Prefix: prefix, Lease: lease})
		if g, err := enter(t, u, ClientConfig{Name: "b"}); !errors.Is(err, ErrFull) {
			t.Fatalf("got %+v, %v; want ErrFull while nodes may come back", g, err)
		}
		var b *guest
		for deadline := time.Now().Add(patience); b == nil; {
			var err error
			if b, err = enter(t, u, ClientConfig{Name: "b"}); err != nil &&
				(!errors.Is(err, ErrFull) || time.Now().After(deadline)) {
				t.Fatal(err)
			}
		}
		if b.Self().Addr != a.Self().Addr {
			t.Fatalf("there is one address, and b has %v, a had %v", b.Self().Addr,
				a.Self().Addr)
		}
		w.sever(false)
		select {
		case <-a.Done():
		case <-time.After(patience):
			t.Fatal("a is still trying")
		}
		if err := a.Err(); !errors.Is(err, ErrEvicted) {
			t.Errorf("got %v, want ErrEvicted", err)
		}
		if got := l.Snapshot().Members; len(got) != 1 || got[0].Key != b.Self().Key {
			t.Errorf("members %+v, want b alone", got)
		}
	})
}

// A coordinator that is not there is looked for until it is, with another after
// it, and Close ends the search.
func TestCloseWhileAway(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		a := mustEnter(t, l.url(t), "a")
		l.stop()
		a.offline(t)
		result := make(chan error)
		go func() { result <- a.Signal(context.Background(), 2, []byte("x")) }()
		short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if err := a.Signal(short, 2, []byte("x")); !errors.Is(err,
			context.DeadlineExceeded) && !errors.Is(err, ErrDisconnected) {
			t.Errorf("signal while away: %v", err)
		}
		began := time.Now()
		a.Close()
		if d := time.Since(began); d > patience/2 {
			t.Errorf("Close took %v", d)
		}
		if err := <-result; !errors.Is(err, ErrClosed) && !errors.Is(err, ErrDisconnected) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// Ids go on behind those that were given, whether the coordinator was stopped or
// killed; without a file, and for a network that has ended, they begin anew.
func TestSerial(t *testing.T) {
	path := restartable(t)
	p, err := newAddressPlan(DefaultPrefix, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	next := func(r *membership) uint32 {
		t.Helper()
		r.mu.Lock()
		defer r.mu.Unlock()
		id, err := r.nextIDLocked()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	start := func() *membership {
		t.Helper()
		r, err := newMembership(p, load(t, path), time.Hour, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := start()
	for want := range uint32(serialBlock + 3) {
		if id := next(r); id != want+1 {
			t.Fatalf("id %d, want %d", id, want+1)
		}
	}
	killed := start()
	if id := next(killed); id <= serialBlock+3 || id > 3*serialBlock {
		t.Errorf("after a crash: id %d", id)
	}
	last := next(killed)
	if err := killed.close(false); err != nil {
		t.Fatal(err)
	}
	stopped := start()
	if id := next(stopped); id != last+1 {
		t.Errorf("after a stop: id %d, want %d", id, last+1)
	}
	if err := stopped.close(true); err != nil {
		t.Fatal(err)
	}
	if id := next(start()); id != 1 {
		t.Errorf("after the end of a network: id %d, want 1", id)
	}
}
