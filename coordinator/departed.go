package coordinator

import "time"

// leftFor is how long a name is remembered that nobody has any more.
const departedTTL = time.Minute

// maxDeparted bounds the names that are remembered, at some 150 bytes each. Beyond it
// the oldest ones are forgotten early.
const maxDeparted = 1 << 16

// departed are the names that nobody has any more, and since when. The caller holds
// directory.mu.
type departed struct {
	since map[string]time.Time
	queue []departure // in the order of time; those before first are done with
	first int
}

// A departure is outdated when the name has another time in since.
type departure struct {
	name string
	at   time.Time
}

// add notes that the name has left now. Each departure is looked at twice in its life,
// however many there are.
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

// has tells whether the name has left within leftFor.
func (d *departed) has(name string, now time.Time) bool {
	at, ok := d.since[name]
	return ok && now.Sub(at) <= departedTTL
}
