package coordinator

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A directory is a client's copy of the member list.
type directory struct {
	plan addressPlan // by which the members have their addresses

	mu     sync.Mutex
	byID   map[uint32]memberRecord
	byKey  map[transport.Key]uint32
	byName map[string][]uint32 // ids in ascending order; without ordinal names
	// known from before, and not yet back with a coordinator that started anew
	stale map[uint32]bool
	// could not be reached from here; until when that counts
	suspects map[uint32]time.Time
	departed departed      // names that nobody has any more
	changed  chan struct{} // closed and replaced at every change
}

// A change is a member that came or went.
type change struct {
	record memberRecord
	up     bool
}

func newDirectory(p addressPlan) *directory {
	return &directory{
		plan: p,
		byID: make(map[uint32]memberRecord), byKey: make(map[transport.Key]uint32),
		byName: make(map[string][]uint32), stale: make(map[uint32]bool),
		suspects: make(map[uint32]time.Time),
		changed:  make(chan struct{}),
	}
}

// replace makes list the member list. While the coordinator is settling, who is
// missing in it stays in the directory until an update says otherwise.
func (d *directory) replace(list []memberRecord, inGrace bool) []change {
	d.mu.Lock()
	defer d.mu.Unlock()
	var changes []change
	here := make(map[uint32]bool, len(list))
	for i := range list {
		here[list[i].id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(d.byID)) {
		switch {
		case here[id]:
		case inGrace:
			d.stale[id] = true
		default:
			changes = d.removeLocked(changes, id)
		}
	}
	for i := range list {
		changes = d.addLocked(changes, &list[i])
	}
	d.notifyLocked(changes)
	return changes
}

// settleLocked removes who has not come back.
func (d *directory) endGraceLocked(changes []change) []change {
	for _, id := range slices.Sorted(maps.Keys(d.stale)) {
		changes = d.removeLocked(changes, id)
	}
	return changes
}

// apply takes over updates.
func (d *directory) apply(updates []update) []change {
	d.mu.Lock()
	defer d.mu.Unlock()
	changes := make([]change, 0, len(updates))
	for i := range updates {
		switch u := &updates[i]; u.kind {
		case kindDown:
			changes = d.removeLocked(changes, u.record.id)
		case kindGraceEnded:
			changes = d.endGraceLocked(changes)
		default:
			changes = d.addLocked(changes, &u.record)
		}
	}
	d.notifyLocked(changes)
	return changes
}

func (d *directory) addLocked(changes []change, c *memberRecord) []change {
	delete(d.stale, c.id)
	if old, ok := d.byID[c.id]; ok {
		if old.same(c) {
			d.byID[c.id] = *c // it may have fallen silent, or is back
			return changes
		}
		changes = d.removeLocked(changes, c.id)
	}
	// A stale member may still have the key that is another's by now.
	if id, ok := d.byKey[c.key]; ok {
		changes = d.removeLocked(changes, id)
	}
	d.byID[c.id], d.byKey[c.key] = *c, c.id
	if c.name != "" {
		ids := d.byName[c.name]
		at, _ := slices.BinarySearch(ids, c.id)
		d.byName[c.name] = slices.Insert(ids, at, c.id)
	}
	return append(changes, change{*c, true})
}

func (d *directory) removeLocked(changes []change, id uint32) []change {
	c, ok := d.byID[id]
	if !ok {
		return changes
	}
	delete(d.stale, id)
	delete(d.suspects, id)
	delete(d.byID, id)
	delete(d.byKey, c.key)
	if c.name == "" {
		d.departed.add(OrdinalName(id), time.Now())
		return append(changes, change{c, false})
	}
	ids := d.byName[c.name]
	if at, ok := slices.BinarySearch(ids, id); ok {
		ids = slices.Delete(ids, at, at+1)
	}
	if d.byName[c.name] = ids; len(ids) == 0 {
		delete(d.byName, c.name)
		d.departed.add(c.name, time.Now())
	}
	return append(changes, change{c, false})
}

// had reports whether a member with that name, the last one, has left within leftFor.
func (d *directory) hadName(name string) bool {
	name = strings.ToLower(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.departed.has(name, time.Now()) && len(d.idsLocked(name)) == 0
}

func (d *directory) notifyLocked(changes []change) {
	if len(changes) > 0 {
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

func (d *directory) id(id uint32) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memberLocked(id)
}

func (d *directory) key(key transport.Key) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memberLocked(d.byKey[key])
}

func (d *directory) addr(addr netip.Addr) (Member, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memberLocked(d.plan.id(addr))
}

func (d *directory) memberLocked(id uint32) (Member, bool) {
	c, ok := d.byID[id] // nobody has the id 0
	if !ok {
		return Member{}, false
	}
	return d.plan.member(c), true
}

// list returns all members in the order of their ids.
func (d *directory) list() []memberRecord {
	d.mu.Lock()
	all := slices.Collect(maps.Values(d.byID))
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b memberRecord) int { return cmp.Compare(a.id, b.id) })
	return all
}

// lookup returns the members that the name means. Of several, any may be the
// first: most clients live too short to take turns, and a resolver asks twice,
// for IPv4 and for IPv6, where turns would skip every other member. Those that
// nobody hears are left out if there are others.
func (d *directory) lookup(name string) []Member {
	name = strings.ToLower(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := d.idsLocked(name)
	if len(ids) == 0 {
		return nil
	}
	heard := slices.DeleteFunc(slices.Clone(ids), d.suspectLocked)
	if len(heard) > 0 {
		ids = heard
	}
	turn := rand.IntN(len(ids))
	members := make([]Member, 0, len(ids))
	for i := range ids {
		members = append(members, d.plan.member(d.byID[ids[(turn+i)%len(ids)]]))
	}
	return members
}

// doubtFor is how long a node that could not be reached from here is left out.
const suspectFor = 10 * time.Second

// doubt says that a node could, or could not, be reached from here.
func (d *directory) suspect(id uint32, suspect bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, here := d.byID[id]; here && suspect {
		d.suspects[id] = time.Now().Add(suspectFor)
	} else {
		delete(d.suspects, id)
	}
}

func (d *directory) suspectLocked(id uint32) bool {
	return d.byID[id].unresponsive || time.Now().Before(d.suspects[id])
}

// count returns how many members the name, in lower case, means, and a channel
// that is closed when that may have changed.
func (d *directory) count(name string) (int, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.idsLocked(name)), d.changed
}

func (d *directory) idsLocked(name string) []uint32 {
	if id, ok := ParseOrdinalName(name); ok {
		if _, here := d.byID[id]; here {
			return []uint32{id}
		}
		return nil
	}
	return d.byName[name]
}
