package coordinator

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// token creates a token and returns its join URL.
func (l *lab) token(t testing.TB, info TokenInfo) JoinURL {
	t.Helper()
	a, err := l.createToken(NewToken{TokenInfo: info})
	if err != nil {
		t.Fatal(err)
	}
	u, err := ParseJoinURL(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// refused fails the test unless a join fails with want, and text in its error.
func refused(t testing.TB, u JoinURL, name string, want error, text string) {
	t.Helper()
	g, err := enter(t, u, ClientConfig{Name: name})
	if err == nil {
		t.Errorf("joined as %s (%d)", g.Self().Name, g.Self().ID)
		g.leave()
		return
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		t.Errorf("join as %q: %v, want %v with %q", name, err, want, text)
	}
	if strings.Contains(err.Error(), u.Token) {
		t.Errorf("the error has the token: %v", err)
	}
}

// ask asks the coordinator as the bearer of a token for what it shows an observer.
func (l *lab) ask(t testing.TB, u JoinURL) ([]Member, error) {
	t.Helper()
	id, err := transport.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	socket := listenSocket(t)
	defer socket.Close()
	d := dialer{u, socket, id, newDiagnosis(quiet), nil}
	d.diagnosis.probe = func(context.Context, netip.AddrPort) (bool,
		error) {
		return false, nil
	}
	c, err := d.dialWithin(t.Context(), &hello{Token: u.Token, Observe: true}, 0)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.observed, nil
}

// A bound name needs one of its tokens, and such a token takes no other name.
func TestBoundNames(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		open := l.url(t)
		early := mustEnter(t, open, "db") // before the name is bound
		a, err := l.createToken(NewToken{TokenInfo: TokenInfo{Name: "database",
			Tags: []string{"prod"}, Binds: []string{"DB", "db2"}}})
		if err != nil || len(a.Holders) != 1 || a.Holders[0].ID != early.Self().ID {
			t.Fatalf("holders %v, %v; want the node that has the name", a.Holders, err)
		}
		db, err := ParseJoinURL(a.URL)
		if err != nil {
			t.Fatal(err)
		}
		early.leave()
		refused(t, open, "db", ErrToken, "the name db is bound to another token")
		refused(t, open, "DB2", ErrToken, "bound to another token")
		other := l.token(t, TokenInfo{Name: "other"})
		refused(t, other, "db", ErrToken, "bound to another token")
		refused(t, db, "web", ErrToken, "admits nodes named db or db2 only; use --name")
		refused(t, db, "", ErrToken, "admits nodes named db or db2 only")
		mustEnter(t, open, "web")
		if got := mustEnter(t, db, "db").Self(); got.Name != "db" {
			t.Errorf("joined as %v", got)
		}
		// A second token of the same name, for its rotation, and one name needs no
		// --name.
		again := l.token(t, TokenInfo{Name: "database-2", Binds: []string{"db2"}})
		if got := mustEnter(t, again, "").Self(); got.Name != "db2" {
			t.Errorf("joined as %v, want the bound name", got)
		}
		for _, m := range l.Snapshot().Members {
			if m.Name == "db" && (m.Token != "database" ||
				strings.Join(m.Tags, " ") != "prod") {
				t.Errorf("db joined with %q %v", m.Token, m.Tags)
			}
		}
		// Revoked, the token still binds its names; forgotten, it does not.
		for _, name := range []string{"database", "database-2"} {
			if _, err := l.RevokeToken(name, false); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, db, "db", ErrToken, "the token database was revoked")
		refused(t, open, "db2", ErrToken, "bound to another token")
		for _, name := range []string{"database", "database-2"} {
			if gone, err := l.RevokeToken(name, true); err != nil || len(gone) != 1 {
				t.Fatalf("evicted %v, %v", gone, err)
			}
		}
		mustEnter(t, open, "db2")
	})
}

// A ticket does not keep a name that was bound meanwhile.
func TestTicketOfBoundName(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path)})
		thief := mustEnter(t, l.url(t), "db")
		l.token(t, TokenInfo{Name: "database", Binds: []string{"db"}})
		l.stop()
		l = newLab(t, ServerConfig{State: load(t, path)})
		watcher := mustEnter(t, l.url(t), "watcher")
		time.Sleep(time.Minute)
		if got := watcher.LookupName("db"); got != nil {
			t.Errorf("db is %v: the ticket was accepted", got)
		}
		if err := thief.Err(); err != nil {
			t.Errorf("the node gave up: %v; the name may become free again", err)
		}
	})
}

func TestTokenUsesAndLifetime(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path)})
		u := l.token(t, TokenInfo{Name: "two", Uses: 2})
		id, err := transport.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // the same node, as if the answers were lost
			g, err := enter(t, u, ClientConfig{Identity: id})
			if err != nil {
				t.Fatal(err)
			}
			g.leave()
		}
		l.stop() // the uses are in the state file
		l = newLab(t, ServerConfig{State: load(t, path)})
		second := mustEnter(t, u, "second")
		refused(t, u, "third", ErrToken, "the token two admits 2 nodes")
		// Who has joined comes back.
		l.stop()
		l = newLab(t, ServerConfig{State: load(t, path)})
		watcher := mustEnter(t, l.url(t), "watcher")
		watcher.sees(t, second.Self().ID, true)

		brief, err := l.createToken(NewToken{TokenInfo: TokenInfo{Name: "brief"},
			TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		bu, _ := ParseJoinURL(brief.URL)
		stays := mustEnter(t, bu, "stays")
		time.Sleep(time.Minute)
		refused(t, bu, "late", ErrExpired, "the token brief")
		if _, ok := watcher.ByID(stays.Self().ID); !ok {
			t.Error("the node left when its token expired")
		}
		states := make(map[string]string)
		for _, info := range l.cfg.State.tokens() {
			states[info.Name] = info.State(time.Now())
		}
		if states["brief"] != "expired" || states["two"] != "used up" ||
			states[DefaultToken] != "valid" {
			t.Errorf("tokens are %v", states)
		}
	})
}

// A status token shows the network, and admits nobody.
func TestStatusToken(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		l := newLab(t, ServerConfig{})
		mustEnter(t, l.url(t), "a")
		u := l.token(t, TokenInfo{Name: "prometheus", Status: true})
		refused(t, u, "b", ErrToken, "shows the status of the network, and admits no node")
		members, err := l.ask(t, u)
		if err != nil || len(members) != 1 {
			t.Errorf("it shows %v, %v", members, err)
		}
		if _, err := l.RevokeToken("prometheus", false); err != nil {
			t.Fatal(err)
		}
		if _, err := l.ask(t, u); !errors.Is(err, ErrToken) {
			t.Errorf("a revoked token: %v", err)
		}
	})
}

// The state file has no secret of a named token.
func TestStateHasNoSecrets(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path)})
		u := l.token(t, TokenInfo{Name: "secret", Uses: 3})
		mustEnter(t, u, "a")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), u.Token) ||
			!strings.Contains(string(text), `"name": "secret"`) {
			t.Error("the state file has the token's secret, or not the token")
		}
	})
}

// Evicted nodes do not come back, neither to this coordinator nor to the next one, and
// neither with their ticket nor with their token and key.
func TestEvict(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path), Prefix6: DefaultPrefix6})
		u := l.url(t)
		stays := mustEnter(t, u, "stays")
		id, err := transport.NewIdentity()
		if err != nil {
			t.Fatal(err)
		}
		victim, err := enter(t, u, ClientConfig{Name: "db", Identity: id})
		if err != nil {
			t.Fatal(err)
		}
		stays.sees(t, victim.Self().ID, true)
		victim.Client.mu.Lock()
		ticket := victim.ticket
		victim.Client.mu.Unlock()
		if _, err := l.Evict("nobody"); err == nil ||
			!strings.Contains(err.Error(), "no node has that name") {
			t.Errorf("evict nobody: %v", err)
		}
		began := time.Now()
		gone, err := l.Evict("DB")
		if err != nil || len(gone) != 1 || gone[0].ID != victim.Self().ID {
			t.Fatalf("evicted %v, %v", gone, err)
		}
		stays.sees(t, victim.Self().ID, false)
		if d := time.Since(began); d > time.Second {
			t.Errorf("the others were told after %v", d)
		}
		<-victim.Done()
		if err := victim.Err(); !errors.Is(err, ErrEvicted) ||
			!strings.Contains(err.Error(), "an operator has evicted this node") {
			t.Errorf("the node was told %v", err)
		}
		back := func() {
			t.Helper()
			if g, err := enter(t, u, ClientConfig{Name: "db",
				Identity: id}); !errors.Is(err, ErrEvicted) {
				t.Errorf("the key joined again: %v, %v", g, err)
			}
			if _, _, err := l.members.authorize(&hello{Ticket: ticket},
				id.Key()); !errors.Is(err, ErrEvicted) {
				t.Errorf("the ticket is accepted: %v", err)
			}
		}
		back()
		l.stop()
		l = newLab(t, ServerConfig{State: load(t, path), Prefix6: DefaultPrefix6})
		back()
		mustEnter(t, u, "db") // a new node of that name
		for _, target := range []string{stays.Self().Addr.String(),
			stays.Self().Addr6.String(),
			OrdinalName(stays.Self().ID)} {
			if got := l.members.named(target); len(got) != 1 ||
				got[0].ID != stays.Self().ID {
				t.Errorf("%s names %v", target, ids(got))
			}
		}
	})
}

// token revoke default ends the join URL; with --evict the nodes that joined with it,
// too.
func TestRevokeDefault(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := restartable(t)
		l := newLab(t, ServerConfig{State: load(t, path)})
		u := l.url(t)
		a := mustEnter(t, u, "a")
		named := mustEnter(t, l.token(t, TokenInfo{Name: "x"}), "b")
		if _, err := l.RevokeToken(DefaultToken, false); err != nil {
			t.Fatal(err)
		}
		refused(t, u, "c", ErrToken, "")
		if err := a.Err(); err != nil {
			t.Errorf("the node has left: %v", err)
		}
		l.stop()
		l = newLab(t, ServerConfig{State: load(t, path)}) // without a default token
		eventually(t, "both are back", func() bool { return l.members.size() == 2 })
		if gone, err := l.RevokeToken(DefaultToken, true); err != nil || len(gone) != 1 {
			t.Errorf("evicted %v, %v", gone, err)
		}
		<-a.Done()
		if err := named.Err(); err != nil {
			t.Errorf("a node with another token has left: %v", err)
		}
	})
}

// A token is revoked with its nodes also when the state cannot be saved, and again to
// save it. That the state has no room for more evicted nodes does not matter.
func TestRevokeUnsaved(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "state")
		l := newLab(t, ServerConfig{State: load(t, path)})
		u := l.token(t, TokenInfo{Name: "ci"})
		a := mustEnter(t, u, "a")
		l.cfg.State.mu.Lock()
		l.cfg.State.file.Evicted = make([]transport.Key, maxEvicted)
		l.cfg.State.mu.Unlock()
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		gone, err := l.RevokeToken("ci", true)
		if !errors.Is(err, os.ErrNotExist) || len(gone) != 1 ||
			!strings.Contains(err.Error(), "nodes evicted: 1; but") {
			t.Errorf("evicted %v, %v", gone, err)
		}
		<-a.Done()
		if err := a.Err(); !errors.Is(err, ErrEvicted) {
			t.Errorf("the node was told %v", err)
		}
		refused(t, u, "b", ErrToken, "")
		if _, err := l.RevokeToken("ci", true); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("revoked again: %v", err)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		if load(t, path).namedLocked("ci") == nil {
			t.Error("the state file has forgotten the token")
		}
		if _, err := l.RevokeToken("ci", true); err != nil {
			t.Errorf("revoked again: %v", err)
		}
		if load(t, path).namedLocked("ci") != nil {
			t.Error("the state file still has the token")
		}
		if _, err := l.RevokeToken("ci", true); err == nil ||
			!strings.Contains(err.Error(), "none of that name") {
			t.Errorf("revoked once more: %v", err)
		}
	})
}

// Tokens that admit nobody any more do not fill the state file.
func TestForgetUses(t *testing.T) {
	s, err := NewState()
	if err != nil {
		t.Fatal(err)
	}
	s.path = filepath.Join(t.TempDir(), "state")
	now := time.Now()
	add := func(name string, used int) *namedToken {
		t.Helper()
		if _, err := s.addNamedToken(TokenInfo{Name: name, Uses: maxUses}, now); err != nil {
			t.Fatal(err)
		}
		n := s.namedLocked(name)
		n.UsedBy, n.Used = make([]transport.Key, used), used
		for i := range n.UsedBy {
			n.UsedBy[i][0], n.UsedBy[i][1] = byte(i), byte(i>>8)
		}
		return n
	}
	last := transport.Key{1, 2, 3}
	full := add("full", maxUses-1)
	for range 2 { // the last one repeats its join
		if err := s.use(full.grant(), last, now); err != nil {
			t.Fatal(err)
		}
	}
	if full = s.namedLocked("full"); full.Used != maxUses || len(full.UsedBy) != maxLastUses {
		t.Errorf("%d uses, %d nodes", full.Used, len(full.UsedBy))
	}
	if err := s.use(full.grant(), transport.Key{9, 9, 9}, now); !errors.Is(err, ErrToken) {
		t.Errorf("a token that is used up: %v", err)
	}
	add("revoked", 100)
	add("expired", 100).Expires = now.Add(-time.Second)
	add("valid", 100)
	if _, err := s.revokeToken("revoked", false, now); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"revoked": 0, "expired": 0, "valid": 100} {
		if n := s.namedLocked(name); len(n.UsedBy) != want || n.Used != 100 {
			t.Errorf("%s: %d uses, %d nodes, want 100 and %d", name, n.Used, len(n.UsedBy), want)
		}
	}
}

// A state file that could not be read again is not written.
func TestStateFileLimit(t *testing.T) {
	s, err := NewState()
	if err != nil {
		t.Fatal(err)
	}
	s.path = filepath.Join(t.TempDir(), "state")
	now := time.Now()
	if _, err := s.addNamedToken(TokenInfo{Name: "big", Uses: maxUses}, now); err != nil {
		t.Fatal(err)
	}
	s.namedLocked("big").UsedBy = make([]transport.Key, maxStateFile/40)
	if _, err := s.addNamedToken(TokenInfo{Name: "more"}, now); err == nil ||
		!strings.Contains(err.Error(), "remove tokens by token revoke --evict") {
		t.Errorf("the state was saved: %v", err)
	}
	if s, err := loadState(s.path); err != nil || s.namedLocked("big") == nil ||
		s.namedLocked("more") != nil {
		t.Errorf("the file before: %v", err)
	}
	if _, err := s.revokeToken("big", true, now); err != nil {
		t.Errorf("the remedy: %v", err)
	}
}

func TestTokenErrors(t *testing.T) {
	s, err := NewState()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := s.addNamedToken(TokenInfo{Name: "there"}, now); err != nil {
		t.Fatal(err)
	}
	many := make([]string, 100)
	for _, tc := range []struct {
		info TokenInfo
		want string
	}{
		{TokenInfo{Name: ""}, "want a name"},
		{TokenInfo{Name: "a b"}, "want a name"},
		{TokenInfo{Name: DefaultToken}, "choose another"},
		{TokenInfo{Name: "There"}, "there is one of that name"},
		{TokenInfo{Name: "x", Uses: -1}, "want 1 to 10000"},
		{TokenInfo{Name: "x", Uses: maxUses + 1}, "want 1 to 10000"},
		{TokenInfo{Name: "x", Tags: many}, "100 tags, the most is 16"},
		{TokenInfo{Name: "x", Tags: []string{"A"}}, `tag "A"`},
		{TokenInfo{Name: "x", Binds: many}, "100 bound names, the most is 64"},
		{TokenInfo{Name: "x", Binds: []string{"node-1"}}, "ordinal name"},
		{TokenInfo{Name: "x", Expires: now}, "expire before it is created"},
		{TokenInfo{Name: "x", Status: true, Tags: []string{"a"}}, "a status token"},
	} {
		if _, err := s.addNamedToken(tc.info, now); err == nil ||
			!strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.info, err, tc.want)
		}
	}
	if _, err := s.revokeToken("none", false, now); err == nil {
		t.Error("a token that is not there was revoked")
	}
}

// The administration socket does what the commands ask, also below a long path, and goes
// with its coordinator.
func TestAdmin(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := AdminSocket(filepath.Join(dir, "state"))
	a := NewAdmin(path)
	if _, err := a.Tokens(t.Context()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no coordinator: %v", err)
	}
	l := newLab(t, ServerConfig{AdminSocket: path})
	u := l.url(t)
	mustEnter(t, u, "a")
	eventually(t, "the socket", func() bool { _, err := os.Stat(path); return err == nil })
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", st, err)
	}
	made, err := a.CreateToken(t.Context(), NewToken{TokenInfo: TokenInfo{Name: "ci",
		Binds: []string{"a"}}, TTL: time.Hour})
	if err != nil || len(made.Holders) != 1 || made.Token.Name != "ci" {
		t.Errorf("created %+v, %v", made, err)
	}
	if u, err := ParseJoinURL(made.URL); err != nil || u.Token != made.Secret {
		t.Errorf("join URL %v, %v", u, err)
	}
	all, err := a.Tokens(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != DefaultToken || all[1].Name != "ci" {
		t.Errorf("tokens %+v, %v", all, err)
	}
	if gone, err := a.Evict(t.Context(), "a"); err != nil || len(gone) != 1 {
		t.Errorf("evicted %v, %v", gone, err)
	}
	if _, err := a.Evict(t.Context(), "a"); err == nil ||
		!strings.Contains(err.Error(), "boxer status") {
		t.Errorf("evicted again: %v", err)
	}
	if _, err := a.RevokeToken(t.Context(), "ci", true); err != nil {
		t.Error(err)
	}
	if err := a.ask(t.Context(), "nonsense", 1, nil); err == nil ||
		!strings.Contains(err.Error(), "same version") {
		t.Errorf("an unknown request: %v", err)
	}
	l.stop()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}
