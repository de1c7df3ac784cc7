package launcher

import (
	"errors"
	"testing"
)

func TestUnprovenBounds(t *testing.T) {
	var u unproven
	var done []func()
	for peer := range uint32(maxUnproven / maxUnprovenPeer) {
		for range maxUnprovenPeer {
			d, ok := u.admit(peer)
			if !ok {
				t.Fatalf("peer %d has no connection %d", peer, len(done))
			}
			done = append(done, d)
		}
		if _, ok := u.admit(peer); ok {
			t.Fatalf("peer %d has more than %d", peer, maxUnprovenPeer)
		}
	}
	if _, ok := u.admit(1000); ok {
		t.Errorf("more than %d in all", maxUnproven)
	}
	done[0]()
	done[0]() // counts once
	if _, ok := u.admit(1000); !ok {
		t.Error("the place of a connection that has ended is not given to another one")
	}
	if _, ok := u.admit(1001); ok {
		t.Error("a connection that has ended gave more than one place")
	}
	for _, d := range done[1:] {
		d()
	}
	if u.all != 1 || len(u.byPeer) != 1 {
		t.Errorf("%d connections of %d peers are left, want 1 of 1", u.all, len(u.byPeer))
	}
}

// TestCommandsUnproven opens connections to a supervisor that prove nothing. It accepts
// some of them, and another one only when one has proven its key or has ended.
func TestCommandsUnproven(t *testing.T) {
	url := startCoordinator(t)
	conns, leave := make(chan *CommandConn, maxUnproven), make(chan struct{})
	n := startNode(t, url, "wait", func(c *RunConfig) {
		c.Commands = func(_ *Program, conn *CommandConn) { conns <- conn; <-leave }
	})
	m, err := Meet(t.Context(), MeetConfig{Join: url, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	defer close(leave)
	open := func() error {
		c, err := m.Command(t.Context(), n.Status().ID)
		if err == nil {
			t.Cleanup(func() { c.Close() })
		}
		return err
	}
	for i := range maxUnprovenPeer {
		if err := open(); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if err := open(); !errors.Is(err, ErrNoCommands) {
		t.Fatalf("one more than allowed: %v, want %v", err, ErrNoCommands)
	}
	(<-conns).Proven()
	if err := open(); err != nil {
		t.Errorf("after a proof: %v", err)
	}
	if err := open(); !errors.Is(err, ErrNoCommands) {
		t.Errorf("after a proof, one more than allowed: %v, want %v", err, ErrNoCommands)
	}
	leave <- struct{}{} // one of them ends, perhaps the proven one
	leave <- struct{}{}
	await(t, func() bool { return open() == nil })
}
