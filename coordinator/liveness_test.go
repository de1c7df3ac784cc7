package coordinator

import (
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// TestSilentNamesake has a node join under the name of one that does not answer and
// that it does not wait for: that one stays a member, and is left out of the name
// until it is heard.
func TestSilentNamesake(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{}, func(s *Server) { s.maxHold = 0 })
		mute := newStranger(t, l)
		mute.send(frame(&message{Hello: &hello{Version: protocolVersion,
			Token: l.url(t).Token, Name: "db"}}))
		onlooker := guestNamed(t, l, "onlooker")
		if err := onlooker.Wait(within(t, patience), "db", 1); err != nil {
			t.Fatal(err)
		}
		old := onlooker.LookupName("db")[0]
		if time.Sleep(2 * basePingTimeout); len(onlooker.LookupName("db")) != 1 {
			t.Fatal("who is not asked is not missed")
		}

		guestNamed(t, l, "db")
		guestNamed(t, l, "db")
		eventually(t, "the one that does not answer is left out", func() bool {
			for _, m := range onlooker.LookupName("db") {
				if m.ID == old.ID {
					return false
				}
			}
			m, here := onlooker.ByID(old.ID)
			return len(onlooker.LookupName("db")) == 2 && here && m.Unresponsive
		})
		if late := guestNamed(t, l, "late"); len(late.LookupName("db")) != 2 {
			t.Errorf("who comes later is told of %+v", late.LookupName("db"))
		}

		mute.send(frame(&message{Heartbeat: heartbeatPad}))
		eventually(t, "it is back", func() bool { return len(onlooker.LookupName("db")) == 3 })
	})
}

// TestDoubt leaves out who could not be reached from here, where there are others.
func TestDoubt(t *testing.T) {
	p, err := newAddressPlan(DefaultPrefix, DefaultPrefix6)
	if err != nil {
		t.Fatal(err)
	}
	d := newDirectory(p)
	d.replace(&memberList{list: []memberRecord{{id: 1, name: "db"},
		{id: 2, name: "db", key: transport.Key{2}}}})
	d.suspect(1, true)
	if m := d.lookup("db"); len(m) != 1 || m[0].ID != 2 {
		t.Errorf("got %+v", m)
	}
	d.suspect(2, true)
	if m := d.lookup("db"); len(m) != 2 {
		t.Errorf("all are doubted: got %+v", m)
	}
	d.suspect(1, false)
	if m := d.lookup("db"); len(m) != 1 || m[0].ID != 1 {
		t.Errorf("got %+v", m)
	}
	d.suspect(9, true)
	if len(d.suspects) != 1 {
		t.Errorf("nobody is doubted: %v", d.suspects)
	}
}

func guestNamed(t *testing.T, l *lab, name string) *guest {
	t.Helper()
	g, err := enter(t, l.url(t), ClientConfig{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// eventually waits for what nobody is told of.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
