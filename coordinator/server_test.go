package coordinator

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

func TestJoinAndLeave(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		db := mustEnter(t, u, "DB")
		web, err := enter(t, u, ClientConfig{HostID: "host-1"})
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			g    *guest
			id   uint32
			name string
			addr string
			host string
		}{{db, 1, "db", "10.111.0.2", ""}, {web, 2, "node-2", "10.111.0.3", "host-1"}} {
			self := tc.g.Self()
			if self.ID != tc.id || self.Name != tc.name || self.Addr.String() != tc.addr ||
				self.Host != tc.host || self.Key != tc.g.cfg.Identity.Key() {
				t.Errorf("self is %+v, want %+v", self, tc)
			}
			if got := tc.g.Reflexive(); got != tc.g.socket.LocalAddr() {
				t.Errorf("reflexive address %v, want %v", got, tc.g.socket.LocalAddr())
			}
			if tc.g.Server() != l.cfg.Socket.LocalAddr() || tc.g.Prefix() != DefaultPrefix {
				t.Errorf("server %v, prefix %v", tc.g.Server(), tc.g.Prefix())
			}
		}
		db.sees(t, 2, true)
		web.sees(t, 1, true)
		for _, g := range []*guest{db, web} {
			if got := ids(g.Members()); !slices.Equal(got, []uint32{1, 2}) {
				t.Errorf("members %v, want 1 and 2", got)
			}
			for name, want := range map[string][]uint32{"db": {1}, "Db": {1}, "node-1": {1},
				"node-2": {2}, "NODE-2": {2}, "node-3": nil, "web": nil, "": nil} {
				if got := ids(g.LookupName(name)); !slices.Equal(got, want) {
					t.Errorf("%q means %v, want %v", name, got, want)
				}
			}
			m, ok := g.ByKey(web.Self().Key)
			if n, ok2 := g.ByAddr(netip.MustParseAddr("::ffff:10.111.0.3")); !ok || !ok2 ||
				!m.same(n) || m.ID != 2 {
				t.Errorf("by key %+v, by address %+v", m, n)
			}
			if _, ok := g.ByKey(transport.Key{}); ok {
				t.Error("the zero key is a member's")
			}
			if _, ok := g.ByAddr(netip.MustParseAddr("10.111.0.1")); ok {
				t.Error("the coordinator's address is a member's")
			}
		}
		began := time.Now()
		web.leave()
		db.sees(t, 2, false)
		if d := time.Since(began); d > DefaultLease/2 {
			t.Errorf("a clean leave took %v", d)
		}
		if _, ok := db.ByID(2); ok || db.LookupName("node-2") != nil {
			t.Error("who left is still there")
		}
		if !db.HadName("Node-2") || db.HadName("db") || db.HadName("nobody") {
			t.Errorf("HadName: %v of who left, %v of who is here, %v of nobody",
				db.HadName("Node-2"), db.HadName("db"), db.HadName("nobody"))
		}
		if err := web.Err(); !errors.Is(err, ErrClosed) {
			t.Errorf("Err is %v, want ErrClosed", err)
		}
		if err := web.Signal(context.Background(), 1, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("signal after Close: %v, want ErrClosed", err)
		}
		web.Close() // once more does nothing
		if again := mustEnter(t, u, "web"); again.Self().ID != 3 {
			t.Errorf("the next one has id %d, want 3: an id is not given to another so soon",
				again.Self().ID)
		}
	})
}

func TestNamesRotate(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		var g *guest
		for range 3 {
			g = mustEnter(t, u, "web")
		}
		other := mustEnter(t, u, "db")
		if err := g.Wait(within(t, patience), "db", 1); err != nil {
			t.Fatal(err)
		}
		firsts := make(map[uint32]int)
		for i := range 300 {
			got := ids(g.LookupName("web"))
			first := got[0]
			firsts[first]++
			want := []uint32{first, first%3 + 1, (first+1)%3 + 1}
			if !slices.Equal(got, want) {
				t.Errorf("call %d: %v, want %v", i, got, want)
			}
			if got := ids(g.LookupName("db")); !slices.Equal(got, []uint32{other.Self().ID}) {
				t.Errorf("db means %v", got) // and its lookups do not turn the other name
			}
			if got := ids(g.LookupName("node-2")); !slices.Equal(got, []uint32{2}) {
				t.Errorf("node-2 means %v", got)
			}
		}
		for id := range uint32(3) {
			// 100 are expected; fewer than 50 come once in 10 million runs
			if n := firsts[id+1]; n < 50 {
				t.Errorf("node %d was the first in %d of 300 answers", id+1, n)
			}
		}
	})
}

func TestWait(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		g := mustEnter(t, u, "web")
		result := make(chan error)
		go func() { result <- g.Wait(context.Background(), "Worker", 3) }()
		for range 3 {
			select {
			case err := <-result:
				t.Fatalf("returned early: %v", err)
			default:
			}
			mustEnter(t, u, "worker")
		}
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		err := g.Wait(ctx, "worker", 4)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "3 of 4") {
			t.Errorf("got %v, want what is missing", err)
		}
		go func() { result <- g.Wait(context.Background(), "worker", 4) }()
		g.Close()
		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestSignals(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		a := mustEnter(t, u, "a")
		ready := make(chan *guest, 1)
		var self *guest
		var answered sync.WaitGroup
		answered.Add(101)
		// b answers from within its handler: the receipt has to reach it meanwhile.
		b, err := enter(t, u, ClientConfig{OnSignal: func(from uint32, msg []byte) {
			defer answered.Done()
			if self == nil {
				self = <-ready
			}
			if err := self.Signal(context.Background(), from, msg); err != nil {
				t.Error(err)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		ready <- b
		ctx := within(t, patience)
		for i := range 100 {
			if err := a.Signal(ctx, b.Self().ID, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 100 {
			if s := <-a.signals; string(s.Data) != fmt.Sprint(i) || s.Node != b.Self().ID {
				t.Fatalf("signal %d is %q from %d", i, s.Data, s.Node)
			}
		}
		if err := a.Signal(ctx, 99, []byte("x")); !errors.Is(err, ErrNoNode) {
			t.Errorf("to nobody: %v, want ErrNoNode", err)
		}
		if err := a.Signal(ctx, b.Self().ID, make([]byte, MaxSignal)); err != nil {
			t.Errorf("the largest: %v", err)
		}
		if s := <-a.signals; len(s.Data) != MaxSignal {
			t.Errorf("the largest came back with %d bytes", len(s.Data))
		}
		if err := a.Signal(ctx, b.Self().ID, make([]byte, MaxSignal+1)); err == nil {
			t.Error("one that is too large was sent")
		}
		answered.Wait() // b's receipts come after a's signals
		b.leave()
		a.sees(t, b.Self().ID, false)
		if err := a.Signal(ctx, b.Self().ID, []byte("x")); !errors.Is(err, ErrNoNode) {
			t.Errorf("to one who left: %v, want ErrNoNode", err)
		}
	})
}

// A newcomer's signal comes after the news of its arrival, always.
func TestSignalAfterArrival(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		known := make(map[uint32]bool)
		var got, early int
		done := make(chan struct{})
		const n = 30
		socket := listenSocket(t)
		defer socket.Close()
		identity, _ := transport.NewIdentity()
		old, err := Join(context.Background(),
			ClientConfig{URL: u, Socket: socket, Identity: identity})
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		// Both handlers run on one goroutine, so that they share what they know.
		old.Deliver(func(from uint32, _ []byte) {
			if !known[from] {
				early++
			}
			if got++; got == n {
				close(done)
			}
		}, func(m Member, up bool) { known[m.ID] = up })
		for range n {
			g := mustEnter(t, u, "")
			if err := g.Signal(within(t, patience), old.Self().ID, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		<-done
		old.Close() // no handler runs any more
		if early > 0 {
			t.Errorf("%d of %d signals came before their sender", early, n)
		}
	})
}

func TestDeliverLater(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		socket := listenSocket(t)
		defer socket.Close()
		identity, _ := transport.NewIdentity()
		early := mustEnter(t, u, "early")
		c, err := Join(context.Background(),
			ClientConfig{URL: u, Socket: socket, Identity: identity})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		late := mustEnter(t, u, "late")
		gone := mustEnter(t, u, "gone")
		for _, g := range []*guest{late, early} {
			if err := g.Signal(within(t, patience), c.Self().ID,
				[]byte(g.Self().Name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Wait(within(t, patience), "gone", 1); err != nil {
			t.Fatal(err)
		}
		gone.leave()
		for c.Count("gone") > 0 { // c's reader may be behind
			time.Sleep(time.Millisecond)
		}
		events := make(chan string, 10)
		c.Deliver(func(_ uint32, msg []byte) { events <- "signal " + string(msg) },
			func(m Member, up bool) { events <- fmt.Sprint(m.Name, " ", up) })
		for _, want := range []string{"early true", "late true", "signal late",
			"signal early"} {
			select {
			case got := <-events:
				if got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			case <-time.After(patience):
				t.Fatalf("no %q", want)
			}
		}
	})
}

func TestLease(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		const lease = 400 * time.Millisecond
		l := newLab(t, ServerConfig{Lease: lease})
		u := l.url(t)
		a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
		// Who lives stays, for many leases, though nothing else is said.
		stay := time.After(5 * lease)
		select {
		case <-stay:
		case <-a.Done():
		}
		if a.sees(t, b.Self().ID, true); len(a.history(b.Self().ID)) != 1 {
			t.Fatalf("b's history is %v, want that it came", a.history(b.Self().ID))
		}
		b.vanish(t)
		began := time.Now()
		a.sees(t, b.Self().ID, false)
		if d := time.Since(began); d > 3*lease {
			t.Errorf("noticed after %v, lease %v", d, lease)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		n := 200
		if testing.Short() {
			n = 40 // every node is told of every other: 200 are 25 times the work
		}
		l := newLab(t, ServerConfig{Lease: time.Minute, Logger: quiet})
		u := l.url(t)
		guests := make([]*guest, n)
		var all sync.WaitGroup
		for i := range guests {
			all.Go(func() {
				g, err := enter(t, u, ClientConfig{Name: "worker", Timeout: 3 * time.Minute,
					Logger: quiet})
				if err != nil {
					t.Error(err)
					return
				}
				guests[i] = g
				if err := g.Wait(within(t, 3*time.Minute), "worker", n); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		seen := make(map[netip.Addr]bool)
		for _, g := range guests {
			if seen[g.Self().Addr] {
				t.Errorf("%v was given twice", g.Self().Addr)
			}
			seen[g.Self().Addr] = true
			if got := len(g.Members()); got != n {
				t.Errorf("node %d knows %d members, want %d", g.Self().ID, got, n)
			}
		}
		for _, g := range guests {
			all.Go(g.leave)
		}
		all.Wait()
	})
}

func TestPrefixFull(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Prefix: netip.MustParsePrefix("192.168.7.0/29")})
		u := l.url(t)
		var guests []*guest
		for range 5 {
			guests = append(guests, mustEnter(t, u, ""))
		}
		if last := guests[4].Self().Addr.String(); last != "192.168.7.6" {
			t.Errorf("the last address is %s, want 192.168.7.6", last)
		}
		if _, err := enter(t, u, ClientConfig{}); !errors.Is(err, ErrFull) ||
			!strings.Contains(err.Error(), "192.168.7.0/29") {
			t.Errorf("got %v, want ErrFull with the prefix", err)
		}
		guests[2].leave()
		guests[0].sees(t, 3, false)
		if again := mustEnter(t, u, ""); again.Self().ID != 3 {
			t.Errorf("got id %d, want 3, the one that is free", again.Self().ID)
		}
	})
}

// The same key again, without a ticket, is the node anew: the one before is gone.
func TestSameKeyTwice(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		witness := mustEnter(t, u, "witness")
		first := mustEnter(t, u, "a")
		second, err := enter(t, u, ClientConfig{Name: "b", Identity: first.cfg.Identity})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-first.Done():
		case <-time.After(patience):
			t.Fatal("the first one is still there")
		}
		if err := first.Err(); !errors.Is(err, ErrReplaced) {
			t.Errorf("got %v, want ErrReplaced", err)
		}
		witness.sees(t, first.Self().ID, false)
		witness.sees(t, second.Self().ID, true)
		if m, _ := witness.ByKey(first.Self().Key); m.ID != second.Self().ID {
			t.Errorf("the key is node %d's, want %d", m.ID, second.Self().ID)
		}
	})
}

func TestObserve(t *testing.T) {
	noLeaks(t)
	l := newLab(t, ServerConfig{Version: "v1.2.3"})
	u := l.url(t)
	a, b := mustEnter(t, u, "a"), mustEnter(t, u, "b")
	remote := netip.MustParseAddrPort("203.0.113.7:4242")
	path := PathReport{Peer: b.Self().ID, Kind: "punched", Remote: remote,
		RTT: 20 * time.Millisecond, BytesSent: 1 << 40, BytesReceived: 7}
	// the later one counts
	a.Report([]PathReport{{Peer: b.Self().ID, Kind: "relayed"}}, About{})
	a.Report([]PathReport{path}, About{})
	deadline := time.Now().Add(patience)
	for {
		s, err := Observe(within(t, patience), u)
		if err != nil {
			t.Fatal(err)
		}
		if s.Version != "v1.2.3" || s.Prefix != DefaultPrefix ||
			time.Since(s.Started) > time.Hour ||
			!slices.Equal(ids(s.Members), []uint32{1, 2}) {
			t.Fatalf("got %+v", s)
		}
		if slices.Equal(s.Members[0].Paths, []PathReport{path}) &&
			s.Members[1].Paths == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the report is not there: %+v", s)
		}
	}
	if n := len(a.Members()); n != 2 {
		t.Errorf("%d members: observers are none", n)
	}
	bad := u
	bad.Token = "wrong"
	if _, err := Observe(within(t, patience), bad); !errors.Is(err, ErrToken) {
		t.Errorf("wrong token: %v, want ErrToken", err)
	}
}
