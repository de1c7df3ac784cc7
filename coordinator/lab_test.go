package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// patience bounds waits for what happens at once: it is long because the machine
// may be busy, and short against the test's own timeout.
const patience = 20 * time.Second

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// noLeaks fails the test if it leaves goroutines behind. Call it first.
func noLeaks(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(patience)
		for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
			// goroutines that have returned are counted for a moment
			time.Sleep(time.Millisecond)
		}
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 1<<20)
			t.Errorf("%d goroutines before, %d after:\n%s", before, n,
				buf[:runtime.Stack(buf, true)])
		}
	})
}

// within gives a context that bounds a wait.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// A lab is a coordinator on loopback.
type lab struct {
	*Server
	cfg    ServerConfig
	socket labSocket
	cancel context.CancelFunc
	served chan struct{} // closed when Serve has returned err
	err    error
}

// newLab starts a coordinator; what cfg leaves out gets a value for tests, and
// tweaks change what no configuration does.
func newLab(t testing.TB, cfg ServerConfig, tweaks ...func(*Server)) *lab {
	t.Helper()
	var err error
	if cfg.State == nil {
		if cfg.State, err = NewState(); err != nil {
			t.Fatal(err)
		}
	}
	socket := listenState(t, cfg.State)
	cfg.Socket = socket
	if testing.Verbose() && cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	l := &lab{cfg: cfg, socket: socket, served: make(chan struct{})}
	if l.Server, err = NewServer(cfg); err != nil {
		t.Fatal(err)
	}
	for _, tweak := range tweaks {
		tweak(l.Server)
	}
	l.run(t)
	return l
}

// run serves until the test ends, or stop is called.
func (l *lab) run(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go func() {
		defer close(l.served)
		l.err = l.Serve(ctx)
	}()
	t.Cleanup(l.stop)
}

// stop ends the coordinator as SIGTERM does.
func (l *lab) stop() {
	l.cancel()
	<-l.served
	l.socket.Close()
}

// kill ends the coordinator as SIGKILL does: nobody is told.
func (l *lab) kill(t testing.TB) { mute(t, l.socket); l.stop() }

// mute takes the UDP socket away from under s: nothing goes out any more, and the
// port is free.
func mute(t testing.TB, s labSocket) {
	t.Helper()
	if s, ok := s.(*memSocket); ok {
		s.conn.mute()
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	raw, err := s.QUIC().Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	e := raw.Control(func(fd uintptr) { err = unix.Dup3(int(null.Fd()), int(fd), unix.O_CLOEXEC) })
	if err := errors.Join(e, err); err != nil {
		t.Fatal(err)
	}
}

// url returns the join URL.
func (l *lab) url(t testing.TB) JoinURL {
	t.Helper()
	u, err := l.JoinURL(l.cfg.Socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// told is what a client tells its handler.
type told struct {
	member Member
	up     bool
}

// A guest is a client with what it needs.
type guest struct {
	*Client
	socket  labSocket
	signals chan signal

	mu      sync.Mutex
	changes []told
	changed chan struct{}
}

// enter joins as cfg says; what cfg leaves out is made.
func enter(t testing.TB, u JoinURL, cfg ClientConfig) (*guest, error) {
	t.Helper()
	return enterContext(context.Background(), t, u, cfg)
}

// enterContext is enter with a context for Join.
func enterContext(ctx context.Context, t testing.TB, u JoinURL,
	cfg ClientConfig) (*guest, error) {
	t.Helper()
	var err error
	g := &guest{signals: make(chan signal, 1000), changed: make(chan struct{}, 1)}
	cfg.URL = u
	if cfg.Identity == nil {
		if cfg.Identity, err = transport.NewIdentity(); err != nil {
			t.Fatal(err)
		}
	}
	g.socket = listenSocket(t)
	cfg.Socket = g.socket
	if memNet.used {
		cfg.probe = func(context.Context, netip.AddrPort) (bool, error) { return false, nil }
	}
	if cfg.OnSignal == nil {
		cfg.OnSignal = func(from uint32, msg []byte) {
			g.signals <- signal{Node: from, Data: slices.Clone(msg)}
		}
	}
	cfg.OnMember = func(m Member, up bool) {
		g.mu.Lock()
		g.changes = append(g.changes, told{m, up})
		g.mu.Unlock()
		notify(g.changed)
	}
	if testing.Verbose() && cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if g.Client, err = Join(ctx, cfg); err != nil {
		g.socket.Close()
		return nil, err
	}
	t.Cleanup(g.leave)
	return g, nil
}

// mustEnter is enter for those who have to get in.
func mustEnter(t testing.TB, u JoinURL, name string) *guest {
	t.Helper()
	g, err := enter(t, u, ClientConfig{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *guest) leave() { g.Close(); g.socket.Close() }

// vanish ends the guest as SIGKILL does: nobody is told.
func (g *guest) vanish(t testing.TB) { mute(t, g.socket); g.leave() }

// sees waits until the guest has been told of that change; of a change before
// the last one, too.
func (g *guest) sees(t testing.TB, id uint32, up bool) {
	t.Helper()
	g.until(t, func() bool {
		return slices.ContainsFunc(g.changes,
			func(c told) bool { return c.member.ID == id && c.up == up })
	})
}

// until waits until f is true, which may read g.changes.
func (g *guest) until(t testing.TB, f func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		g.mu.Lock()
		ok := f()
		g.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-g.changed:
		case <-deadline:
			t.Fatalf("not told in %v; changes so far: %+v", patience, g.changes)
		}
	}
}

// history returns the changes that the guest was told of a node.
func (g *guest) history(id uint32) (ups []bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.changes {
		if c.member.ID == id {
			ups = append(ups, c.up)
		}
	}
	return ups
}

func ids(members []Member) (ids []uint32) {
	for _, m := range members {
		ids = append(ids, m.ID)
	}
	return ids
}

var quiet = slog.New(slog.DiscardHandler)
