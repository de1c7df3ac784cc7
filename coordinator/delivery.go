package coordinator

import (
	"context"
	"sync"
)

// signalsHeld bounds the signals that wait for the handler.
const signalsHeld = 1024

// A delivery brings changes and signals to the handlers, in order, without the
// reader of the connection having to wait for them: a handler may itself wait
// for an answer that this reader brings.
type delivery struct {
	self uint32
	dir  *directory

	mu      sync.Mutex
	opened  bool // changes are queued
	items   []item
	signals int           // among items
	filled  chan struct{} // has a token if there may be items
}

// An item is a signal, or a change if data is nil.
type item struct {
	change
	from uint32
	data []byte
}

func newDelivery(self uint32, dir *directory) *delivery {
	return &delivery{self: self, dir: dir, filled: make(chan struct{}, 1)}
}

// open begins to queue changes, with those who are there as the first of them.
func (d *delivery) open() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.opened {
		panic("coordinator: Client.Deliver called twice, or with handlers in the configuration")
	}
	d.opened = true
	var changes []item
	for _, c := range d.dir.list() {
		if c.id != d.self {
			changes = append(changes, item{change: change{c, true}})
		}
	}
	d.items = append(changes, d.items...)
	poke(d.filled)
}

// change has make change the directory, and queues what it returns.
func (d *delivery) change(make func() []change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	changes := make()
	if !d.opened {
		return
	}
	for _, c := range changes {
		if c.card.id != d.self {
			d.items = append(d.items, item{change: c})
		}
	}
	poke(d.filled)
}

// signal queues a signal unless too many wait.
func (d *delivery) signal(from uint32, data []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.signals >= signalsHeld {
		return false
	}
	if data == nil {
		data = []byte{}
	}
	d.signals++
	d.items = append(d.items, item{from: from, data: data})
	poke(d.filled)
	return true
}

// run calls the handlers until ctx ends.
func (d *delivery) run(ctx context.Context, onSignal func(uint32, []byte),
	onMember func(Member, bool)) {
	for {
		select {
		case <-d.filled:
		case <-ctx.Done():
			return
		}
		d.mu.Lock()
		items := d.items
		d.items, d.signals = nil, 0
		d.mu.Unlock()
		for _, i := range items {
			switch {
			case ctx.Err() != nil:
				return
			case i.data != nil && onSignal != nil:
				onSignal(i.from, i.data)
			case i.data == nil && onMember != nil:
				onMember(d.dir.plan.member(i.card), i.up)
			}
		}
	}
}
