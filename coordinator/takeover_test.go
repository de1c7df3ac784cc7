package coordinator

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// quickTakeover has the coordinator take a holder for dead sooner.
func quickTakeover(s *Server) { s.deadAfter = 300 * time.Millisecond }

// A node that is started again under its name has its address again, however the
// one before ended; others do not get it meanwhile.
func TestNameKeepsAddress(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *guest){
		"left": func(_ *testing.T, g *guest) { g.leave() },
		"killed": func(t *testing.T,
			g *guest) {
			time.Sleep(recentJoin)
			g.vanish(t)
		},
		"lease over": func(t *testing.T, g *guest) { g.vanish(t) },
	} {
		t.Run(name, func(t *testing.T) {
			virtualTime(t, func(t *testing.T) {
				lease := time.Minute
				if name == "lease over" {
					lease = 400 * time.Millisecond
				}
				l := newLab(t, ServerConfig{Prefix6: DefaultPrefix6, Lease: lease},
					quickTakeover)
				u := l.url(t)
				witness, old := mustEnter(t, u, "witness"), mustEnter(t, u, "DB")
				end(t, old)
				if name != "killed" {
					witness.sees(t, old.Self().ID, false)
				}
				if other := mustEnter(t, u, ""); other.Self().Addr == old.Self().Addr {
					t.Errorf("a node without a name got the address %v", other.Self().Addr)
				}
				if other := mustEnter(t, u, "web"); other.Self().Addr == old.Self().Addr {
					t.Errorf("a node of another name got the address %v", other.Self().Addr)
				}
				anew := mustEnter(t, u, "db")
				if got, want := anew.Self(), old.Self(); got.Addr != want.Addr ||
					got.Addr6 != want.Addr6 || got.Key == want.Key {
					t.Errorf("started anew it is %+v, was %+v", got, want)
				}
				witness.until(t, func() bool {
					m, ok := witness.ByAddr(old.Self().Addr)
					return ok && m.Key == anew.Self().Key
				})
				if got := ids(witness.LookupName("db")); !slices.Equal(got,
					[]uint32{old.Self().ID}) {
					t.Errorf("db means %v", got)
				}
			})
		})
	}
}

// Several holders of a name keep their addresses, and one of them that is killed is
// replaced at its own.
func TestHoldersKeepAddresses(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Lease: time.Minute},
			func(s *Server) { s.deadAfter = deadAfter })
		u := l.url(t)
		var webs []*guest
		for range 3 {
			webs = append(webs, mustEnter(t, u, "web"))
		}
		time.Sleep(recentJoin)
		webs[1].vanish(t)
		anew := mustEnter(t, u, "web")
		if got, want := anew.Self().Addr, webs[1].Self().Addr; got != want {
			t.Errorf("the replacement has %v, want %v", got, want)
		}
		fourth := mustEnter(t, u, "web")
		for _, g := range []*guest{webs[0], webs[2], anew} {
			if fourth.Self().Addr == g.Self().Addr || g.Err() != nil {
				t.Errorf("%v is held twice, or its holder has gone: %v", g.Self().Addr, g.Err())
			}
		}
		webs[0].leave()
		webs[2].leave()
		anew.sees(t, webs[0].Self().ID, false)
		anew.sees(t, webs[2].Self().ID, false)
		got := []netip.Addr{mustEnter(t, u, "web").Self().Addr,
			mustEnter(t, u, "web").Self().Addr}
		for _, want := range []*guest{webs[0], webs[2]} {
			if !slices.Contains(got, want.Self().Addr) {
				t.Errorf("%v is not in use again: %v", want.Self().Addr, got)
			}
		}
	})
}

// A holder that answers keeps its address, and a newcomer does not wait longer
// than for the answer. One that comes back too late is told so.
func TestTakeover(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Lease: time.Minute},
			func(s *Server) { s.deadAfter = deadAfter })
		u := l.url(t)
		w := newWire(t, l.cfg.Socket.LocalAddr())
		through := u
		through.Host = w.addr.String()
		old := mustEnter(t, through, "db")
		time.Sleep(recentJoin)
		began := time.Now()
		second := mustEnter(t, u, "db")
		if d := time.Since(began); second.Self().Addr == old.Self().Addr || d > deadAfter {
			t.Errorf("beside %v came %v, after %v", old.Self().Addr, second.Self().Addr, d)
		}
		second.leave()
		w.sever(true)
		third := mustEnter(t, u, "db")
		if third.Self().Addr != old.Self().Addr {
			t.Errorf("the replacement has %v, want %v", third.Self().Addr, old.Self().Addr)
		}
		w.sever(false)
		select {
		case <-old.Done():
		case <-time.After(patience):
			t.Fatal("the old one is still there")
		}
		if err := old.Err(); !errors.Is(err, ErrEvicted) {
			t.Errorf("got %v, want ErrEvicted", err)
		}
	})
}

// The next run of the coordinator knows the names. A node that may come back to it
// keeps its address from a newcomer of its name.
func TestNamesSurviveRestart(t *testing.T) {
	for name, end := range map[string]func(*lab){"stopped": (*lab).stop,
		"killed": func(l *lab) { l.kill(t) }} {
		t.Run(name, func(t *testing.T) {
			virtualTime(t, func(t *testing.T) {
				path := restartable(t)
				cfg := func() ServerConfig {
					return ServerConfig{State: load(t, path),
						Lease: 2 * time.Second}
				}
				l := newLab(t, cfg())
				u := l.url(t)
				gone, lost, stays := mustEnter(t, u, "gone"), mustEnter(t, u, "lost"),
					mustEnter(t, u, "stays")
				gone.leave()
				stays.sees(t, gone.Self().ID, false)
				if name == "killed" {
					eventually(t, "the names are saved", func() bool {
						all, err := l.cfg.State.loadBindings()
						return err == nil && len(all) == 3
					})
				}
				end(l)
				lost.vanish(t)
				l = newLab(t, cfg())
				if got := mustEnter(t, u, "stays").Self(); got.Addr == stays.Self().Addr {
					t.Errorf("%v was given away", got.Addr)
				}
				for _, old := range []*guest{lost, gone} {
					if got, want := mustEnter(t, u, old.Self().Name).Self().Addr,
						old.Self().Addr; got != want {
						t.Errorf("%s has %v, had %v", old.Self().Name, got, want)
					}
				}
				if err := stays.Wait(within(t, patience), "gone", 1); err != nil ||
					stays.Err() != nil {
					t.Errorf("who stayed: %v, %v", err, stays.Err())
				}
			})
		})
	}
}

// Addresses of names are given to others only when there is no other one left.
func TestNamesInSmallPrefix(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		// 5 nodes
		l := newLab(t, ServerConfig{Prefix: netip.MustParsePrefix("192.168.7.0/29")})
		u := l.url(t)
		witness := mustEnter(t, u, "")
		for _, name := range []string{"a", "b"} {
			g := mustEnter(t, u, name)
			g.leave()
			witness.sees(t, g.Self().ID, false)
		}
		for _, want := range []uint32{4, 5, 2} { // 2 is a's, which left first
			if got := mustEnter(t, u, "").Self().ID; got != want {
				t.Errorf("a newcomer got id %d, want %d", got, want)
			}
		}
		if got := mustEnter(t, u, "b").Self().ID; got != 3 {
			t.Errorf("b got id %d, want 3", got)
		}
		if _, err := enter(t, u, ClientConfig{Name: "a"}); !errors.Is(err, ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
	})
}

// A node that did not get an ask, since its outbox is full, has left none unanswered.
func TestAskOfFullOutbox(t *testing.T) {
	s, c := new(Server), &session{queue: newSendQueue()}
	for c.queue.tryAdd(nil) {
	}
	s.ping(c, time.Second)
	if asked := time.Duration(c.lastPing.Load()); asked != 0 {
		t.Errorf("asked at %v, without an ask", asked)
	}
	c.queue.drain()
	s.ping(c, 2*time.Second)
	if asked := time.Duration(c.lastPing.Load()); asked != 2*time.Second ||
		len(c.queue.drain()) != 1 {
		t.Errorf("asked at %v, want 2s", asked)
	}
}
