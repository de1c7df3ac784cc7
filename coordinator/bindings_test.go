package coordinator

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBindings(t *testing.T) {
	b := newBindings()
	for _, v := range []binding{{"web", 1, false}, {"db", 2, false}, {"web", 3, false},
		{"web", 4, true}} {
		b.release(v)
	}
	take := func(name string, want uint32) {
		t.Helper()
		if id, _ := b.take(name); id != want {
			t.Errorf("%s gets id %d, want %d", name, id, want)
		}
	}
	take("web", 3) // the one freed last; 4 may come back
	take("nobody", 0)
	b.release(binding{"web", 3, false})
	b.release(binding{"db", 1, false}) // another name has had it since
	take("web", 3)
	take("web", 0)
	b.endGrace()
	take("web", 4)
	if len(b.reclaimable) != 0 {
		t.Errorf("held: %v", b.reclaimable)
	}
	if got := b.list(); !slices.Equal(got,
		[]binding{{"db", 2, false}, {"db", 1, false}}) {
		t.Errorf("list is %v", got)
	}
	if id, ok := b.oldest(); !ok || id != 2 {
		t.Errorf("the oldest is %d", id)
	}
	take("db", 1)
	if _, ok := b.oldest(); ok || len(b.byID)+len(b.byName)+b.order.Len() != 0 {
		t.Errorf("something is left: %v", b)
	}
}

// Memory is bounded, whatever names come: the oldest ones are forgotten.
func TestBindingsBound(t *testing.T) {
	b := newBindings()
	for id := uint32(1); id <= maxBindings+100; id++ {
		b.release(binding{fmt.Sprint("w", id), id, id%2 == 0})
	}
	if n := b.order.Len(); n != maxBindings || len(b.byID) != n || len(b.byName) != n ||
		len(b.reclaimable) != n/2 {
		t.Errorf("%d bindings, %d ids, %d names, %d held", n, len(b.byID), len(b.byName),
			len(b.reclaimable))
	}
	if _, ok := b.take("w99"); ok {
		t.Error("the oldest is still there")
	}
	if id, _ := b.take("w101"); id != 101 {
		t.Errorf("w101 gets %d", id)
	}
}

func TestBindingsFile(t *testing.T) {
	s := load(t, restartable(t))
	want := []binding{{"db", 2, false}, {"web", 1, true}}
	for _, clean := range []bool{true, false} {
		if err := s.saveBindings(want, clean); err != nil {
			t.Fatal(err)
		}
		got, err := s.loadBindings()
		if err != nil {
			t.Fatal(err)
		}
		// After a crash a change may be missing: all may be held.
		if want := []binding{{"db", 2, !clean}, {"web", 1, true}}; !slices.Equal(got, want) {
			t.Errorf("clean %v: got %v, want %v", clean, got, want)
		}
	}
	if st, err := os.Stat(s.bindingsPath()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	for _, bad := range []string{"", "{", `{"version":2}`, `{"version":1,"names":[{"name":"a_b","id":1}]}`,
		`{"version":1,"names":[{"name":"DB","id":1}]}`, `{"version":1,"names":[{"name":"db","id":0}]}`,
		`{"version":1,"names":[{"name":"db","id":99999999}]}`} {
		if _, err := parseBindings([]byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	// A file that cannot be read costs addresses, and nothing else.
	if err := os.WriteFile(s.bindingsPath(), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustEnter(t, newLab(t, ServerConfig{State: s, Logger: quiet}).url(t), "db")
}

func TestBindingsFileSize(t *testing.T) {
	all := make([]binding, maxBindings)
	for i := range all {
		all[i] = binding{strings.Repeat("x", maxLabel), maxNodes, true}
	}
	s := load(t, restartable(t))
	if err := s.saveBindings(all, true); err != nil {
		t.Fatal(err)
	}
	if got, err := s.loadBindings(); err != nil || len(got) != maxBindings {
		t.Errorf("%d of %d read: %v", len(got), maxBindings, err)
	}
}

func FuzzParseBindings(f *testing.F) {
	text, _ := json.Marshal(&bindingsFile{Version: 1,
		Names: []binding{{"db", 2, false}, {"web", 1, true}}})
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseBindings(text)
		if err != nil {
			return
		}
		b := newBindings()
		for _, v := range all {
			if _, err := CheckName(v.Name); err != nil || v.ID == 0 {
				t.Fatalf("got %+v", v)
			}
			b.release(v)
		}
		b.endGrace()
		for range all {
			b.oldest()
		}
		if len(b.byID)+len(b.byName)+len(b.reclaimable)+b.order.Len() != 0 {
			t.Fatalf("something is left: %+v", b)
		}
	})
}

// Names that could not be saved are saved when that is possible, also if none has changed
// since.
func TestSaveAgain(t *testing.T) {
	state, err := NewState()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "later")
	state.path = filepath.Join(dir, "state.json")
	p, err := newAddressPlan(DefaultPrefix, netip.Prefix{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newMembership(p, state, DefaultLease, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r.bindings.release(binding{"db", 1, false})
	r.saveBindings()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.saveBindings()
	all, err := state.loadBindings()
	if err != nil || len(all) != 1 || all[0].Name != "db" {
		t.Errorf("saved are %v, %v", all, err)
	}
}
