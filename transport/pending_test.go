package transport

import (
	"errors"
	"testing"
)

// TestPendingOfRemovedPeer adds a check while its peer is removed: it would stay in the
// table for ever.
func TestPendingOfRemovedPeer(t *testing.T) {
	var table pendingTable
	p, other := &peer{id: 1}, &peer{id: 2}
	first, late, others := newTransactionID(), newTransactionID(), newTransactionID()
	if !table.replace(transactionID{}, first, pendingCheck{peer: p}) ||
		!table.replace(transactionID{}, others, pendingCheck{peer: other}) {
		t.Error("a check was refused")
	}
	table.forget(p)
	if table.replace(first, late, pendingCheck{peer: p}) {
		t.Error("a check of a removed peer was taken")
	}
	if _, ok := table.get(others); !ok || len(table.m) != 1 {
		t.Errorf("%d checks are pending, the other peer's among them: %v", len(table.m), ok)
	}
}

// TestRemoveWhileAsked removes a neighbour while its proof is waited for.
func TestRemoveWhileAsked(t *testing.T) { virtual(t, testRemoveWhileAsked) }

func testRemoveWhileAsked(t *testing.T, l *lab) {
	a, b := l.node(1), l.node(2)
	if err := a.Connect(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	p, err := a.peer(2)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.near.own = loopback() // nobody answers there
	p.mu.Unlock()
	asked := make(chan error)
	go func() {
		_, err := a.Neighbour(t.Context(), 2)
		asked <- err
	}()
	eventually(t, "the proof is waited for", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.proofID != transactionID{}
	})
	a.RemovePeer(Peer{2, b.identity.Key()})
	if err := <-asked; !errors.Is(err, ErrNoPeer) {
		t.Errorf("Neighbour: %v, want ErrNoPeer", err)
	}
	p.askProof(loopback()) // as one that was about to ask
	a.pending.mu.Lock()
	defer a.pending.mu.Unlock()
	for _, c := range a.pending.m {
		if c.peer == p {
			t.Error("a check of the removed peer is pending")
		}
	}
}
