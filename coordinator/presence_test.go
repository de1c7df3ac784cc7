package coordinator

import (
	"bytes"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// TestUnlisted has a node join unlisted: its name leads to it only when it says so, and
// for all nodes alike, those of older versions too.
func TestUnlisted(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		old := newStranger(t, l)
		old.send(frame(&message{Hello: &hello{Version: protocolVersion,
			Token: l.url(t).Token, Name: "old"}}))
		onlooker := guestNamed(t, l, "onlooker")
		db, err := enter(t, l.url(t), ClientConfig{Name: "db", Unlisted: true})
		if err != nil {
			t.Fatal(err)
		}
		late := guestNamed(t, l, "late")
		id := db.Self().ID
		if err := onlooker.AwaitPresence(within(t, patience), id,
			func(p Presence) bool { return p == Presence{Unlisted: true} }); err != nil {
			t.Fatal(err)
		}
		for _, g := range []*guest{onlooker, late, db} {
			if m := g.LookupName("db"); len(m) != 0 || g.Count("db") != 0 {
				t.Errorf("the name leads to %+v", m)
			}
			if m, ok := g.ByID(id); !ok || m.Name != "db" || !m.Unlisted {
				t.Errorf("its id leads to %+v", m)
			}
			if m := g.LookupName(OrdinalName(id)); len(m) != 1 {
				t.Errorf("its ordinal name leads to %+v", m)
			}
		}
		if err := db.SetPresence(within(t, patience), Presence{}); err != nil {
			t.Fatal(err)
		}
		for _, g := range []*guest{onlooker, late, db} {
			if err := g.Wait(within(t, patience), "db", 1); err != nil {
				t.Error(err)
			}
		}
		if down := onlooker.downs(); down > 0 {
			t.Errorf("%d nodes went", down)
		}
	})
}

// downs counts the nodes that are said to have gone.
func (g *guest) downs() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.changes {
		if !c.up {
			n++
		}
	}
	return n
}

// TestAsleep lets a node sleep for longer than its lease and than its connection lasts.
// It is back under its address.
func TestAsleep(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{SleepLease: 10 * time.Minute})
		onlooker := guestNamed(t, l, "onlooker")
		fn := guestNamed(t, l, "fn")
		self := fn.Self()
		asleep := func(want bool) {
			t.Helper()
			if err := onlooker.AwaitPresence(within(t, patience), self.ID,
				func(p Presence) bool { return p.Asleep == want }); err != nil {
				t.Fatal(err)
			}
		}
		if err := fn.SetPresence(within(t, patience), Presence{Asleep: true}); err != nil {
			t.Fatal(err)
		}
		asleep(true)
		freeze(fn.socket, true)
		time.Sleep(time.Minute)
		other := guestNamed(t, l, "fn") // does not take the address
		if m, ok := onlooker.ByID(self.ID); !ok || !m.Asleep || other.Self().ID == self.ID {
			t.Errorf("the sleeper is %+v, %v", m, ok)
		}
		eventually(t, "others come first", func() bool {
			m := onlooker.LookupName("fn")
			return len(m) == 1 && m[0].ID == other.Self().ID
		})
		freeze(fn.socket, false)
		if err := fn.SetPresence(within(t, patience), Presence{}); err != nil {
			t.Fatal(err)
		}
		asleep(false)
		if m, ok := onlooker.ByID(self.ID); !ok || m.Key != self.Key {
			t.Errorf("who has slept is %+v, %v", m, ok)
		}
		if down := onlooker.downs(); down > 0 {
			t.Errorf("%d nodes went", down)
		}
	})
}

// freeze takes the network from a socket, or gives it back.
func freeze(s labSocket, frozen bool) { s.(*memSocket).conn.freeze(frozen) }

// TestSleptTooLong ends a membership at the end of the lease for sleepers.
func TestSleptTooLong(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		audit := filepath.Join(t.TempDir(), "audit")
		l := newLab(t, ServerConfig{SleepLease: 2 * time.Minute, AuditFile: audit})
		onlooker := guestNamed(t, l, "onlooker")
		fn := guestNamed(t, l, "fn")
		if err := fn.SetPresence(within(t, patience), Presence{Asleep: true}); err != nil {
			t.Fatal(err)
		}
		freeze(fn.socket, true)
		time.Sleep(90 * time.Second)
		if _, ok := onlooker.ByID(fn.Self().ID); !ok {
			t.Error("it has left after 90 s")
		}
		err := onlooker.AwaitPresence(within(t, time.Minute), fn.Self().ID,
			func(p Presence) bool { return !p.Asleep })
		if !errors.Is(err, ErrNoNode) {
			t.Errorf("got %v", err)
		}
		eventually(t, "the record of its leave",
			func() bool { return l.metrics.leaves.Get() == 1 })
		all := auditEvents(t, audit)
		if e := all[len(all)-1]; e.Event != "leave" || e.Node != fn.Self().ID ||
			e.Name != "fn" || !strings.Contains(e.Reason, "asleep for too long") {
			t.Errorf("the last event is %+v", e)
		}
	})
}

// TestManySleepers lets more nodes vanish in their sleep than may keep their addresses.
func TestManySleepers(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{Prefix: netip.MustParsePrefix("10.1.2.0/27")})
		most := int(l.members.plan.max) / sleepersPart
		for range most + 2 {
			fn := guestNamed(t, l, "fn")
			if err := fn.SetPresence(within(t, patience),
				Presence{Asleep: true}); err != nil {
				t.Fatal(err)
			}
			freeze(fn.socket, true)
		}
		time.Sleep(2 * time.Minute)
		if n := l.members.size(); n != most {
			t.Errorf("%d sleepers are members, want %d", n, most)
		}
		if n := l.metrics.leaves.Get(); n != 2 {
			t.Errorf("%d have left, want 2", n)
		}
	})
}

func TestWithoutPresence(t *testing.T) {
	db := memberRecord{id: 7, name: "db", key: transport.Key{1}, host: "h1", since: 5}
	away, silent := db, db
	away.presence = Presence{Unlisted: true, Asleep: true}
	silent.unresponsive = true
	in := appendDown(appendUp(appendUp(nil, db), away), 3)
	want := appendDown(appendUp(appendUp(nil, db), silent), 3)
	if got := withoutPresence(in); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}
