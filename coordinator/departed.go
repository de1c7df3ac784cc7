package coordinator

import "time"

// departedTTL is how long the directory remembers a name after its last member has left.
const departedTTL = time.Minute

// maxDeparted limits the names that are remembered, at about 150 bytes each. Beyond it
// the directory forgets the oldest ones early.
const maxDeparted = 1 << 16

// departed holds the names that no member has any more, and when the last one left. The
// caller holds directory.mu.
type departed struct {
	since map[string]time.Time
	queue []departure // in the order of time; the entries before first are finished
	first int
}

// A departure is outdated if since has another time for its name.
type departure struct {
	name string
	at   time.Time
}

// add records that the last member with the name has left. It looks at each departure at
// most twice, however many there are.
func (d *departed) add(name string, now time.Time) {
	if d.since == nil {
		d.since = make(map[string]time.Time)
	}
	d.since[name] = now
	d.queue = append(d.queue, departure{name, now})
	for d.first < len(d.queue) {
		old := d.queue[d.first]
		if now.Sub(old.at) <= departedTTL && len(d.queue)-d.first <= maxDeparted {
			break
		}
		if d.since[old.name].Equal(old.at) {
			delete(d.since, old.name)
		}
		d.queue[d.first] = departure{}
		d.first++
	}
	if d.first > len(d.queue)/2 {
		n := copy(d.queue, d.queue[d.first:])
		clear(d.queue[n:])
		d.queue, d.first = d.queue[:n], 0
	}
}

// has reports whether the name is in departed and not older than departedTTL.
func (d *departed) has(name string, now time.Time) bool {
	at, ok := d.since[name]
	return ok && now.Sub(at) <= departedTTL
}
