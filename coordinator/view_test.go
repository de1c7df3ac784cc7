package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
)

// apply puts a policy into effect.
func (l *lab) apply(t testing.TB, text string) {
	t.Helper()
	if err := l.ApplyPolicy("test", text); err != nil {
		t.Fatal(err)
	}
}

// knows waits until a guest knows the nodes with these names, itself not counted, and no
// others.
func (g *guest) knows(t testing.TB, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		got = nil
		for _, m := range g.Members() {
			if m.ID != g.Self().ID {
				got = append(got, m.Name)
			}
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
	}
	t.Errorf("%s knows %v, want %v", g.Self().Name, got, want)
}

// may fails the test unless the access of another node is as given.
func (g *guest) may(t testing.TB, from *guest, want string) {
	t.Helper()
	if got := g.Access(from.Self().ID).String(); got != want {
		t.Errorf("%s may connect to %s at %s, want %s", from.Self().Name, g.Self().Name, got,
			want)
	}
}

// Under a policy nodes learn of those to which they may connect, and of those that may
// connect to them, and signal to no others.
func TestPolicyViews(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		web, db := mustEnter(t, u, "web"), mustEnter(t, u, "db")
		other := mustEnter(t, u, "other")
		job := mustEnter(t, l.token(t, TokenInfo{Name: "jobs", Tags: []string{"job"}}), "j1")
		web.knows(t, "db", "other", "j1")
		web.may(t, other, "*")

		l.apply(t, "allow web tag:job to db:5432,53/udp\nallow other to tag:job:80")
		web.knows(t, "db")
		db.knows(t, "web", "j1")
		other.knows(t, "j1")
		job.knows(t, "db", "other")
		db.may(t, web, "5432,53/udp")
		db.may(t, job, "5432,53/udp")
		db.may(t, other, "none")
		web.may(t, db, "none")
		job.may(t, other, "80")
		if !web.Restricted() {
			t.Error("the node does not know of the policy")
		}
		// The identity itself, and a name, are not told either.
		if m, ok := other.ByKey(db.Self().Key); ok {
			t.Errorf("other has the key of db: %v", m)
		}
		ctx := context.Background()
		if err := other.Signal(ctx, db.Self().ID, []byte("x")); !errors.Is(err,
			ErrNoNode) {
			t.Errorf("signal to a node that is not visible: %v", err)
		}
		if err := db.Signal(ctx, web.Self().ID, []byte("x")); err != nil {
			t.Errorf("signal to a node that may connect: %v", err)
		}

		// Newcomers, and those who leave, are told to those whom it concerns.
		job2 := mustEnter(t, l.token(t, TokenInfo{Name: "jobs2", Tags: []string{"job"}}), "j2")
		db.knows(t, "web", "j1", "j2")
		job2.knows(t, "db", "other")
		db.may(t, job2, "5432,53/udp")
		web.knows(t, "db")
		late := mustEnter(t, u, "late")
		late.knows(t)
		job.leave()
		db.knows(t, "web", "j2")
		other.knows(t, "j2")
		for _, g := range []*guest{web, late} {
			for _, gone := range []*guest{job, job2} {
				if ups := g.history(gone.Self().ID); g == late && len(ups) > 0 {
					t.Errorf("late was told of %s: %v", gone.Self().Name, ups)
				}
			}
		}

		// A change takes access, and gives it.
		l.apply(t, "allow late to web:1-5")
		for _, g := range []*guest{db, other, job2} {
			g.knows(t)
		}
		web.knows(t, "late")
		web.may(t, late, "1-5")
		l.apply(t, policy.Example)
		web.knows(t, "db", "other", "late", "j2")
		web.may(t, other, "*")
		if web.Restricted() {
			t.Error("allow all restricts")
		}
	})
}

// A policy lasts across restarts of the coordinator, and nodes that come back see what
// they saw.
func TestPolicyRestart(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path), Lease: 2 * time.Second})
		l.apply(t, "allow web to db:5432")
		u := l.url(t)
		web, db, other := mustEnter(t, u, "web"), mustEnter(t, u, "db"),
			mustEnter(t, u, "other")
		db.knows(t, "web")
		l.stop()
		db.offline(t)
		db.may(t, web, "5432") // also without a coordinator
		l = newLab(t, ServerConfig{State: load(t, path), Lease: 2 * time.Second})
		eventually(t, "all are back", func() bool { return l.members.size() == 3 })
		time.Sleep(5 * time.Second) // beyond the grace period
		db.knows(t, "web")
		web.knows(t, "db")
		other.knows(t)
		db.may(t, web, "5432")
		if ups := db.history(web.Self().ID); !slices.Equal(ups, []bool{true}) {
			t.Errorf("db was told of web: %v, want that it came once", ups)
		}
	})
}

// Nodes that do not enforce policies cannot be members under one.
func TestPolicyOutdatedNode(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		old := newStranger(t, l)
		old.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token,
			Name: "old"}}))
		web := mustEnter(t, u, "web")
		web.knows(t, "old")
		l.apply(t, "allow old to web:1")
		web.knows(t)
		<-old.conn.Context().Done()
		if err := refusalOf(context.Cause(old.conn.Context())); !errors.Is(err,
			ErrProtocol) ||
			!strings.Contains(err.Error(), textOutdated) {
			t.Errorf("the old node was told %v", err)
		}
		again := newStranger(t, l)
		again.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token}}))
		<-again.conn.Context().Done()
		if err := refusalOf(context.Cause(again.conn.Context())); !errors.Is(err,
			ErrProtocol) {
			t.Errorf("an old node that joins is told %v", err)
		}
		l.apply(t, "allow all")
		back := newStranger(t, l)
		back.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token,
			Name: "old"}}))
		web.knows(t, "old")
	})
}

// Two nodes may share more ports than one target of a policy may have. They stay in the
// network, and so does a node that takes policies and no presences.
func TestPolicyManyPorts(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		var text strings.Builder
		for i := range 600 {
			fmt.Fprintf(&text, "allow web to old:%d db:%d\n", 2*i+1, 2*i+1)
		}
		l.apply(t, text.String())
		web, db := mustEnter(t, u, "web"), mustEnter(t, u, "db")
		db.knows(t, "web")
		old := newStranger(t, l)
		old.send(frame(&message{Hello: &hello{Version: protocolVersion, Token: u.Token,
			Name: "old", Policies: true}}))
		web.knows(t, "db", "old")
		if err := web.SetPresence(within(t, patience), Presence{Asleep: true}); err != nil {
			t.Fatal(err)
		}
		if !db.Access(web.Self().ID).Has(policy.TCP, 1199) {
			t.Error("web may not connect to port 1199 of db")
		}
		if old.conn.Context().Err() != nil {
			t.Errorf("the old node has left: %v", context.Cause(old.conn.Context()))
		}
	})
}

// An observer sees what a node with its token sees. A status token shows everything.
func TestPolicyObserver(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		u := l.url(t)
		l.apply(t, "allow tag:job to db:5432")
		db, _ := mustEnter(t, u, "db"), mustEnter(t, u, "other")
		db.Report([]PathReport{{Peer: 2, Kind: "lan"}}, About{})
		eventually(t, "the report", func() bool { return len(l.Snapshot().Members[0].Paths) == 1 })
		jobs := l.token(t, TokenInfo{Name: "jobs", Tags: []string{"job"}})
		for _, tc := range []struct {
			u     JoinURL
			want  []uint32
			paths int
		}{
			{u, nil, 0},
			{jobs, []uint32{1}, 0},
			{l.token(t, TokenInfo{Name: "status", Status: true}), []uint32{1, 2}, 1},
		} {
			got, err := l.ask(t, tc.u)
			if err != nil || !slices.Equal(ids(got), tc.want) ||
				len(got) > 0 && len(got[0].Paths) != tc.paths {
				t.Errorf("it shows %+v, %v; want %v", got, err, tc.want)
			}
		}
	})
}

// The coordinator reads its policy file again when that has changed, and keeps the policy
// when the text is wrong or incomplete.
func TestPolicyFile(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "policy")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("deny\n")
		state, err := NewState()
		if err != nil {
			t.Fatal(err)
		}
		socket := listenSocket(t)
		defer socket.Close()
		if _, err := NewServer(ServerConfig{State: state, Socket: socket,
			PolicyFile: path}); err == nil ||
			!strings.Contains(err.Error(), path+":1: ") {
			t.Errorf("start with a wrong policy: %v", err)
		}
		write("allow web to db:5432\n")
		l := newLab(t, ServerConfig{PolicyFile: path})
		u := l.url(t)
		web, db := mustEnter(t, u, "web"), mustEnter(t, u, "db")
		db.knows(t, "web")
		db.may(t, web, "5432")
		write("allow web to db:54321,1\n")
		eventually(t, "the new policy", func() bool { return db.Access(web.Self().ID).Has(policy.TCP, 1) })
		write("allow web to db:x\n")
		time.Sleep(5 * time.Second)
		db.may(t, web, "1,54321")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		db.may(t, web, "1,54321")
		write("allow db to web:2\n")
		eventually(t, "the next policy",
			func() bool { return web.Access(db.Self().ID).Has(policy.TCP, 2) })
		if err := l.ApplyPolicy("x", "allow all"); err == nil ||
			!strings.Contains(err.Error(), path) {
			t.Errorf("apply beside a file: %v", err)
		}
	})
}
