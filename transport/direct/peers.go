package direct

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// A Way is how QUIC's packets reach a peer: what is found out about TCP holds as long as
// they take it.
type Way struct {
	To  netip.Addr // the peer's, or its NAT's
	LAN bool       // without a NAT
}

// A Trial tries whether TCP reaches a peer, see [Dial].
type Trial func(ctx context.Context, peer uint32, w Way) (Path, error)

// retryAfter is how long a peer that TCP did not reach is left alone. Its NAT, or its
// firewall, is likely to be the same, and each trial costs some packets.
const retryAfter = time.Minute

// Peers knows which peers TCP reaches. Its methods may be called from any goroutine.
type Peers struct {
	trial  Trial
	ctx    context.Context // ends in Close
	cancel context.CancelFunc

	mu     sync.Mutex
	m      map[uint32]*known
	closed bool
	trials sync.WaitGroup // added to with mu
}

// known is what is known of a peer.
type known struct {
	way    Way
	trying bool
	ended  chan struct{} // of a trial: closed at its end
	path   Path          // valid if err is nil and a trial has ended
	err    error
	tried  time.Time // when the last trial ended; zero: none has
}

// NewPeers returns a Peers that knows nothing yet. Close ends its trials.
func NewPeers(t Trial) *Peers {
	p := &Peers{trial: t, m: make(map[uint32]*known)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close ends the trials that run, and waits for them.
func (p *Peers) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.trials.Wait()
}

// Path returns the path to a peer that is reached by w, if a trial has shown that it
// carries TCP. Otherwise it starts a trial, unless one has failed lately, and returns
// false: it does not wait.
func (p *Peers) Path(peer uint32, w Way) (Path, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.m[peer]
	if k == nil || k.way != w {
		k = &known{way: w}
		p.m[peer] = k
	}
	switch {
	case k.trying || p.closed:
	case !k.tried.IsZero() && k.err == nil:
		return k.path, true
	case k.tried.IsZero() || time.Since(k.tried) >= retryAfter:
		k.trying, k.ended = true, make(chan struct{})
		p.trials.Go(func() { p.try(peer, k) })
	}
	return Path{}, false
}

func (p *Peers) try(peer uint32, k *known) {
	path, err := p.trial(p.ctx, peer, k.way)
	p.mu.Lock()
	defer p.mu.Unlock()
	k.trying, k.path, k.err, k.tried = false, path, err, time.Now()
	close(k.ended)
}

// Settle waits until it is known whether TCP reaches a peer by w, or ctx ends.
func (p *Peers) Settle(ctx context.Context, peer uint32, w Way) {
	p.Path(peer, w)
	p.mu.Lock()
	var ended chan struct{}
	if k := p.m[peer]; k != nil && k.trying {
		ended = k.ended
	}
	p.mu.Unlock()
	if ended == nil {
		return
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// Failed says that a path to a peer did not carry a connection: the next one waits for
// another trial.
func (p *Peers) Failed(peer uint32, path Path) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.m[peer]; k != nil && k.path == path && !k.trying {
		delete(p.m, peer)
	}
}

// Reaches reports whether TCP reaches a peer, as far as is known: err is why it does not,
// and tried is false before a trial has ended.
func (p *Peers) Reaches(peer uint32) (tried bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.m[peer]
	if k == nil || k.tried.IsZero() {
		return false, nil
	}
	return true, k.err
}

// Forget forgets a peer that is gone.
func (p *Peers) Forget(peer uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, peer)
}
