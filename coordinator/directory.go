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

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// A directory is a client's copy of the member list.
type directory struct {
	plan addressPlan // maps ids to addresses

	mu     sync.Mutex
	byID   map[uint32]memberRecord
	byKey  map[transport.Key]uint32
	byName map[string][]uint32 // ids in ascending order; ordinal names are not in it
	// members that have not come back to a coordinator that has restarted
	stale map[uint32]bool
	// members that are asleep
	sleepers map[uint32]bool
	// nodes that this node could not reach, until the time given
	suspects map[uint32]time.Time
	departed departed // names that no member has any more
	// ports of this node to which members may connect, if restricted is set
	access     map[uint32]policy.Ports
	restricted bool
	// the last update of kindAccess, which goes with the update that follows it
	pending       uint32 // id; 0: none
	pendingAccess policy.Ports
	changed       chan struct{} // closed and replaced at each change
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
		sleepers: make(map[uint32]bool),
		suspects: make(map[uint32]time.Time), access: make(map[uint32]policy.Ports),
		changed: make(chan struct{}),
	}
}

// replace replaces the member list. While the coordinator is in its grace period, the
// members that are missing in list stay until an update removes them.
func (d *directory) replace(l *memberList) []change {
	list, inGrace := l.list, l.inGrace
	d.mu.Lock()
	defer d.mu.Unlock()
	var changes []change
	d.restricted = l.policy
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
	maps.Copy(d.access, l.access)
	d.notifyLocked(changes)
	return changes
}

// portsFor returns the ports of this node to which a member may connect.
func (d *directory) portsFor(id uint32) policy.Ports {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.restricted {
		return policy.AllPorts()
	}
	return d.access[id] // none if the id is no member's
}

func (d *directory) isRestricted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.restricted
}

// endGraceLocked removes the members that have not come back.
func (d *directory) endGraceLocked(changes []change) []change {
	for _, id := range slices.Sorted(maps.Keys(d.stale)) {
		changes = d.removeLocked(changes, id)
	}
	return changes
}

// apply applies updates.
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
		case kindAccess:
			d.pending, d.pendingAccess = u.record.id, u.access
		default:
			changes = d.addLocked(changes, &u.record)
			if d.pending == u.record.id {
				d.access[d.pending], d.pending = d.pendingAccess, 0
			}
		}
	}
	d.notifyLocked(changes)
	return changes
}

func (d *directory) addLocked(changes []change, c *memberRecord) []change {
	delete(d.stale, c.id)
	if delete(d.sleepers, c.id); c.presence.Asleep {
		d.sleepers[c.id] = true
	}
	if old, ok := d.byID[c.id]; ok {
		if old.same(c) {
			d.byID[c.id] = *c // only Unresponsive and the presence may differ
			if old.presence != c.presence {
				d.wakeLocked()
			}
			return changes
		}
		changes = d.removeLocked(changes, c.id)
	}
	// Another member may have the key of a stale one.
	if id, ok := d.byKey[c.key]; ok {
		changes = d.removeLocked(changes, id)
	}
	if d.byID[c.id], d.byKey[c.key] = *c, c.id; c.presence.Asleep {
		d.sleepers[c.id] = true // removeLocked may have forgotten it
	}
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
	delete(d.sleepers, id)
	delete(d.suspects, id)
	delete(d.access, id)
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

// hadName reports whether the last member with that name has left within departedTTL.
func (d *directory) hadName(name string) bool {
	name = strings.ToLower(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.departed.has(name, time.Now()) && len(d.idsLocked(name)) == 0
}

func (d *directory) notifyLocked(changes []change) {
	if len(changes) > 0 {
		d.wakeLocked()
	}
}

// wakeLocked wakes all that wait for a change.
func (d *directory) wakeLocked() {
	close(d.changed)
	d.changed = make(chan struct{})
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
	c, ok := d.byID[id] // no member has the id 0
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

// lookup returns the members with a name, starting at a random one. A round robin would
// not distribute the load: most clients make one connection, and a resolver asks twice,
// for IPv4 and for IPv6, so that it would skip every other member. Members that are
// unresponsive, asleep or suspect are omitted while another member has the name.
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

// suspectFor is how long lookup omits a member that this node could not reach.
const suspectFor = 10 * time.Second

// suspect records that this node could not, or could, reach a member.
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
	c := d.byID[id]
	return c.unresponsive || c.presence.Asleep || time.Now().Before(d.suspects[id])
}

// count returns how many listed members have the name, which is in lower case, and a
// channel that is closed when this number may have changed.
func (d *directory) count(name string) (int, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.idsLocked(name)), d.changed
}

// idsLocked returns the members that a name leads to. The caller must not change them.
func (d *directory) idsLocked(name string) []uint32 {
	if id, ok := ParseOrdinalName(name); ok {
		if _, here := d.byID[id]; here {
			return []uint32{id}
		}
		return nil
	}
	ids := d.byName[name]
	unlisted := func(id uint32) bool { return d.byID[id].presence.Unlisted }
	if !slices.ContainsFunc(ids, unlisted) {
		return ids
	}
	return slices.DeleteFunc(slices.Clone(ids), unlisted)
}
