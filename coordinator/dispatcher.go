package coordinator

import (
	"context"
	"sync"
)

// maxQueuedSignals limits the signals that wait for the handler.
const maxQueuedSignals = 1024

// A dispatcher calls the handlers for changes and signals, in order. The goroutine that
// reads the connection does not wait for a handler: the handler itself may wait for an
// answer that this goroutine reads.
type dispatcher struct {
	self uint32
	dir  *directory

	mu          sync.Mutex
	enabled     bool // changes are queued
	events      []dispatchEvent
	signalCount int           // number of signals in events
	ready       chan struct{} // has a token if there may be events
}

// A dispatchEvent is a signal, or a change if data is nil.
type dispatchEvent struct {
	change
	from uint32
	data []byte
}

func newDispatcher(self uint32, dir *directory) *dispatcher {
	return &dispatcher{self: self, dir: dir, ready: make(chan struct{}, 1)}
}

// enable starts to queue changes, beginning with the members that are there.
func (d *dispatcher) enable() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.enabled {
		panic("coordinator: Client.Deliver called twice, or with handlers in the configuration")
	}
	d.enabled = true
	var changes []dispatchEvent
	for _, c := range d.dir.list() {
		if c.id != d.self {
			changes = append(changes, dispatchEvent{change: change{c, true}})
		}
	}
	d.events = append(changes, d.events...)
	notify(d.ready)
}

// applyChanges calls make, which changes the directory, and queues the changes that it
// returns.
func (d *dispatcher) applyChanges(make func() []change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changes := make()
	if !d.enabled {
		return
	}
	for _, c := range changes {
		if c.record.id != d.self {
			d.events = append(d.events, dispatchEvent{change: c})
		}
	}
	notify(d.ready)
}

// enqueueSignal queues a signal. It returns false if too many wait.
func (d *dispatcher) enqueueSignal(from uint32, data []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.signalCount >= maxQueuedSignals {
		return false
	}
	if data == nil {
		data = []byte{}
	}
	d.signalCount++
	d.events = append(d.events, dispatchEvent{from: from, data: data})
	notify(d.ready)
	return true
}

// run calls the handlers until ctx ends.
func (d *dispatcher) run(ctx context.Context, onSignal func(uint32, []byte),
	onMember func(Member, bool)) {
	for {
		select {
		case <-d.ready:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		items := d.events
		d.events, d.signalCount = nil, 0
		d.mu.Unlock()
		for _, i := range items {
			switch {
			case ctx.Err() != nil:
				return
			case i.data != nil && onSignal != nil:
				onSignal(i.from, i.data)
			case i.data == nil && onMember != nil:
				onMember(d.dir.plan.member(i.record), i.up)
			}
		}
	}
}
