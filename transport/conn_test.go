package transport

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// dying is a connection whose streams have failed, and whose context has not ended yet.
type dying struct {
	quicConn
	ctx    context.Context
	opened chan struct{} // gets a value for each attempt to open a stream
}

func (d *dying) Context() context.Context { return d.ctx }

func (d *dying) OpenStreamSync(context.Context) (*quic.Stream, error) {
	d.opened <- struct{}{}
	return nil, &quic.IdleTimeoutError{}
}

// A stream that is opened while its connection dies takes a new one.
func TestOpenOnDyingConnection(t *testing.T) {
	l := newLab(t)
	a, b := l.node(1), l.node(2)
	p, err := a.peer(2)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &dying{ctx: ctx, opened: make(chan struct{}, openAttempts)}
	p.mu.Lock()
	p.current = &conn{peer: p, quic: d, account: p.account,
		streams: make(map[int64]*Stream)}
	p.mu.Unlock()
	go func() {
		<-d.opened
		time.AfterFunc(20*time.Millisecond, cancel) // time for attempts in vain
	}()
	exchange(t, a.open(t, 2), "by a new connection")
	if len(d.opened) > 0 {
		t.Errorf("tried %d times more by the connection that dies", len(d.opened))
	}
	if b.current(1) == nil {
		t.Error("there is no connection")
	}
}

// Who gives up meanwhile is not held up.
func TestOpenOnDyingConnectionCanceled(t *testing.T) {
	l := newLab(t)
	a := l.node(1)
	l.node(2)
	p, err := a.peer(2)
	if err != nil {
		t.Fatal(err)
	}
	d := &dying{ctx: t.Context(), opened: make(chan struct{}, openAttempts)}
	p.mu.Lock()
	p.current = &conn{peer: p, quic: d, account: p.account,
		streams: make(map[int64]*Stream)}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-d.opened
		cancel()
	}()
	if _, err := a.Open(ctx, 2, header()); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, want %v", err, context.Canceled)
	}
	p.mu.Lock()
	p.current = nil
	p.mu.Unlock()
}
