package coordinator

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A spawner starts implicit coordinators in this process.
type spawner struct {
	t       *testing.T
	idle    time.Duration
	started atomic.Int32

	mu   sync.Mutex
	labs []*lab
}

// spawn meets ImplicitConfig.Spawn.
func (s *spawner) spawn(stateFile, joinFile string) error {
	s.started.Add(1)
	state, err := LoadOrCreateState(stateFile)
	if err != nil {
		return err
	}
	l := newLab(s.t, ServerConfig{State: state, JoinFile: joinFile, IdleExit: s.idle})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.labs = append(s.labs, l)
	return nil
}

func (s *spawner) last() *lab {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.labs[len(s.labs)-1]
}

func TestImplicitAtOnce(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "boxer")
	s := &spawner{t: t}
	urls := make([]JoinURL, 8)
	var all sync.WaitGroup
	for i := range urls {
		all.Go(func() {
			var err error
			if urls[i], err = Implicit(within(t, patience),
				ImplicitConfig{Dir: dir, Spawn: s.spawn}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.started.Load(); n != 1 {
		t.Errorf("%d coordinators were started, want 1", n)
	}
	for _, u := range urls {
		if u != urls[0] {
			t.Errorf("got %v and %v", u, urls[0])
		}
	}
	first := mustEnter(t, urls[0], "a")
	// The directory is this user's alone, and so is what is in it.
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", st.Mode(), err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v; want 0600", f.Name(), st.Mode(), err)
		}
	}

	// Its successor, after a death that removed nothing, has the same URL, and the
	// node comes back to it.
	join := s.last().cfg.JoinFile
	text, err := os.ReadFile(join)
	if err != nil {
		t.Fatal(err)
	}
	s.last().stop()
	if _, err := os.Stat(join); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a coordinator that stops leaves its join file: %v", err)
	}
	if err := os.WriteFile(join, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Implicit(within(t, patience), ImplicitConfig{Dir: dir, Spawn: s.spawn})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.started.Load(); n != 2 || again != urls[0] {
		t.Errorf("%d started, %v, want a second one with %v", n, again, urls[0])
	}
	second := mustEnter(t, again, "b")
	if err := second.Wait(within(t, patience), "a", 1); err != nil {
		t.Fatal(err)
	}
	if m := second.LookupName("a")[0]; !m.same(first.Self()) {
		t.Errorf("a came back as %+v, was %+v", m, first.Self())
	}
}

func TestImplicitFails(t *testing.T) {
	noLeaks(t)
	spawn := func(string, string) error { return errors.New("no such program") }
	if _, err := Implicit(within(t, patience),
		ImplicitConfig{Dir: filepath.Join(t.TempDir(), "x"), Spawn: spawn}); err == nil ||
		!strings.Contains(err.Error(), "no such program") {
		t.Errorf("got %v, want why it does not start", err)
	}
	// One that never gets ready is waited for until ctx ends, and so is who starts it.
	dir := filepath.Join(t.TempDir(), "x")
	ctx, cancel := context.WithCancel(context.Background())
	spawn = func(string, string) error { cancel(); return nil }
	for range 2 {
		if _, err := Implicit(ctx, ImplicitConfig{Dir: dir,
			Spawn: spawn}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that ctx ended", err)
		}
	}
	elsewhere := t.TempDir()
	for name, make := range map[string]func(string) error{
		"symbolic link":   func(p string) error { return os.Symlink(elsewhere, p) },
		"not a directory": func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"so that other users have access": func(p string) error {
			return errors.Join(os.Mkdir(p,
				0o700), os.Chmod(p, 0o755))
		},
	} {
		dir := filepath.Join(t.TempDir(), "x")
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := Implicit(within(t, patience),
			ImplicitConfig{Dir: dir, Spawn: spawn}); err == nil ||
			!strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// An idle coordinator ends by itself, and leaves nothing that a next one would
// have to get around.
func TestIdleExit(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		path, join := restartable(t), filepath.Join(t.TempDir(), "join")
		const idle = 2 * time.Second // long enough to join in, also on a busy machine
		l := newLab(t, ServerConfig{State: load(t, path), IdleExit: idle, Lease: time.Second,
			JoinFile: join},
			func(s *Server) { s.linger = 0 })
		u := l.url(t)
		g := mustEnter(t, u, "a")
		select {
		case <-l.served:
			t.Fatal("it ended with a node there")
		case <-time.After(idle + idle/2):
		}
		if got, err := readLiveJoin(join); err != nil || got != u {
			t.Errorf("join file: %v, %v; want %v", got, err, u)
		}
		g.leave()
		select {
		case <-l.served:
		case <-time.After(patience):
			t.Fatal("it did not end")
		}
		if l.err != nil {
			t.Error(l.err)
		}
		if _, err := os.Stat(join); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the join file is left: %v", err)
		}
		if n := load(t, path).serial(); n != 0 {
			t.Errorf("the next network begins at %d", n)
		}
	})
}

// Who has read the join file just before it was withdrawn gets in, and brings it
// back.
func TestIdleExitTooLate(t *testing.T) {
	virtualTime(t, func(t *testing.T) {
		join := filepath.Join(t.TempDir(), "join")
		l := newLab(t, ServerConfig{IdleExit: time.Millisecond, Lease: time.Second, JoinFile: join},
			func(s *Server) { s.linger = time.Hour })
		waitFile(t, join, false)
		mustEnter(t, l.url(t), "late")
		waitFile(t, join, true)
		if got, err := readLiveJoin(join); err != nil || got != l.url(t) {
			t.Errorf("join file: %v, %v", got, err)
		}
	})
}

func waitFile(t *testing.T, path string, there bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) != there {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: waited for there to be one: %v", path, there)
		}
	}
}

func TestJoinFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "join")
	u := JoinURL{Token: "t", Host: "127.0.0.1:4242"}
	if _, err := readLiveJoin(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	j, err := PublishJoin(path, u)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v; want 0600", st.Mode(), err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != u.String()+"\n" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := PublishJoin(path, u); !errors.Is(err, ErrRunning) {
		t.Errorf("second: %v, want ErrRunning", err)
	}
	// One that was left behind gives way.
	j.held.Close()
	if _, err := readLiveJoin(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	k, err := PublishJoin(path, u)
	if err != nil {
		t.Fatal(err)
	}
	j.Withdraw() // of the dead one: it is another's file by now
	if got, err := readLiveJoin(path); err != nil || got != u {
		t.Errorf("got %v, %v", got, err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// What is no join file stays.
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := PublishJoin(path, u); err == nil || errors.Is(err, ErrRunning) {
		t.Errorf("over another file: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "x"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := PublishJoin(path, u); err == nil {
		t.Error("over a symbolic link")
	}
}

// Of many that publish at once over one that was left behind, one is first.
func TestPublishAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "join")
	u := JoinURL{Token: "t", Host: "127.0.0.1:4242"}
	for range 20 {
		if err := os.WriteFile(path, []byte(u.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var won atomic.Int32
		files := make([]*JoinFile, 8)
		for i := range files {
			all.Go(func() {
				var err error
				if files[i], err = PublishJoin(path, u); err == nil {
					won.Add(1)
				} else if !errors.Is(err, ErrRunning) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("%d have published", n)
		}
		for _, f := range files {
			f.Withdraw()
		}
	}
}

func TestLastListen(t *testing.T) {
	path := restartable(t)
	l := newLab(t, ServerConfig{State: load(t, path)})
	addr := l.cfg.Socket.LocalAddr()
	taken, err := load(t, path).Listen(loopback) // the port is in use: another one
	if err != nil {
		t.Fatal(err)
	}
	if taken.LocalAddr() == addr {
		t.Error("the same address twice")
	}
	taken.Close()
	l.stop()
	var again *transport.Socket
	if again, err = load(t, path).Listen(loopback); err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.LocalAddr() != addr {
		t.Errorf("got %v, want %v as before", again.LocalAddr(), addr)
	}
}
