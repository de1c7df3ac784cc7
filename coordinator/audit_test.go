package coordinator

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// auditEvents reads an audit log.
func auditEvents(t *testing.T, path string) (all []AuditEvent) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e AuditEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time.IsZero() {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

func eventsOf(all []AuditEvent) (names []string) {
	for _, e := range all {
		names = append(names, e.Event)
	}
	return names
}

func TestAudit(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit")
		l := newLab(t, ServerConfig{AuditFile: path})
		u := l.url(t)
		if _, err := l.ask(t, u); err != nil { // the coordinator serves
			t.Fatal(err)
		}
		db := l.token(t, TokenInfo{Name: "database", Tags: []string{"prod"}, Binds: []string{"db"}})
		refused(t, u, "db", ErrToken, "bound to another token")
		g := mustEnter(t, db, "db")
		l.apply(t, "allow all")
		if _, err := l.Evict("db"); err != nil {
			t.Fatal(err)
		}
		<-g.Done()
		if _, err := l.RevokeToken("database", false); err != nil {
			t.Fatal(err)
		}
		l.stop()
		all := auditEvents(t, path)
		want := []string{"start", "token-create", "refuse", "join", "policy", "evict", "leave",
			"token-revoke", "stop"}
		if got := eventsOf(all); !slices.Equal(got, want) {
			t.Fatalf("events %v, want %v", got, want)
		}
		no, join := all[2], all[3]
		if no.Name != "db" || !strings.Contains(no.Reason, "bound to another token") ||
			no.Remote == "" {
			t.Errorf("refusal %+v", no)
		}
		if join.Name != "db" || join.Token != "database" ||
			!slices.Equal(join.Tags, []string{"prod"}) ||
			join.Node != g.Self().ID || join.Key != g.Self().Key ||
			join.Remote != g.socket.LocalAddr().String() {
			t.Errorf("join %+v", join)
		}
		text, _ := os.ReadFile(path)
		for _, secret := range []string{u.Token, db.Token} {
			if strings.Contains(string(text), secret) {
				t.Error("the audit log has a token")
			}
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v, %v", st, err)
		}
	})
}

// A stranger cannot fill the disk, and a log that was renamed goes on in a new file.
func TestAuditLimits(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit")
		a, err := openAudit(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		for range 3 * auditRefusalBurst {
			a.write(AuditEvent{Event: "refuse"})
		}
		a.write(AuditEvent{Event: "join"})
		time.Sleep(time.Second)
		a.write(AuditEvent{Event: "refuse"})
		all := auditEvents(t, path)
		last := all[len(all)-1]
		if len(all) != auditRefusalBurst+2 || last.Omitted != 2*auditRefusalBurst {
			t.Errorf("%d lines, %d omitted", len(all), last.Omitted)
		}
		if err := os.Rename(path, path+".1"); err != nil {
			t.Fatal(err)
		}
		a.reopen()
		a.write(AuditEvent{Event: "leave"})
		if got := eventsOf(auditEvents(t, path)); !slices.Equal(got, []string{"leave"}) {
			t.Errorf("the new file has %v", got)
		}
	})
}
