package project

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// connPair returns two connected sockets of the kind that clients and supervisors use.
func connPair(t *testing.T) (a, b packetConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []*packetConn{&a, &b} {
		if *c, err = newPacketConn(os.NewFile(uintptr(fds[i]), "conn")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	return a, b
}

// patience bounds the wait for what would never come if there was a fault.
const patience = 30 * time.Second

// TestServeReaderStops ends a supervisor while a client asks for nothing, and while one
// does not read: neither keeps the supervisor from its end.
func TestServeReaderStops(t *testing.T) {
	for name, stuck := range map[string]func(t *testing.T, client, theirs packetConn){
		"no request": func(*testing.T, packetConn, packetConn) {},
		"no reader": func(t *testing.T, client, theirs packetConn) {
			fill(t, theirs)
			if err := client.send(request{Op: opEvents}); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, theirs := connPair(t)
			stuck(t, client, theirs)
			ctx, end := context.WithCancel(t.Context())
			defer end()
			served := make(chan struct{})
			go func() {
				defer close(served)
				(&server{s: &Supervisor{}}).serve(ctx, theirs)
			}()
			end()
			select {
			case <-served:
			case <-time.After(patience):
				t.Error("the supervisor waits for the client")
			}
		})
	}
}

// fill sends messages until the next one would wait for a reader.
func fill(t *testing.T, c packetConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = raw.Control(func(fd uintptr) {
		for full == nil {
			full = unix.Send(int(fd), []byte("{}"), unix.MSG_DONTWAIT)
		}
	})
	if err != nil || !errors.Is(full, unix.EAGAIN) {
		t.Fatalf("%v, %v; want EAGAIN", err, full)
	}
}

// TestUpTellsUnlocked has a client of Up that does not read. Others can still stop
// services.
func TestUpTellsUnlocked(t *testing.T) {
	dir := Dir{t.TempDir(), "p"}
	s := &Supervisor{cfg: Config{Dir: dir}, changed: make(chan struct{}),
		network: &network{cancel: func() {}}}
	s.instances = []*instance{{svc: Service{Name: "old"},
		InstanceState: InstanceState{Service: "old", Index: 1}}}
	free := false
	err := s.Up(t.Context(), Plan{Name: "p"}, UpOptions{}, func(string) {
		if free = s.applying.TryLock(); free {
			s.applying.Unlock()
		}
	})
	if err != nil || !free {
		t.Errorf("%v; the lock is free while the client is told: %v, want true", err, free)
	}
}
