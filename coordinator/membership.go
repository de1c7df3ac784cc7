package coordinator

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A roster holds the members of the network, hands out ids, and writes every
// change into the journal, in the same order for all.
//
// A newcomer under a name gets the id that was the name's last, if that is free
// (bindings). Other ids come from a serial that only grows: serial s is id s mod
// max + 1, skipping ids that are held or remembered for a name. So an id is new
// until the prefix has been used up once, and after that the one that was given
// away the longest ago comes first. Where all others are taken, the id that was
// freed the longest ago is taken from its name. A ticket
// for an id that is free is honoured, one for an id that another key holds is
// refused: no address ever has two holders. That an id is given away while its
// holder is merely out of touch needs as many admissions in between as the
// prefix has addresses; after a restart, when nobody is in touch, the serial
// goes on where it was (State), and once the prefix has been used up newcomers
// wait until those who were there have had a lease's time to come back.
type membership struct {
	plan    addressPlan
	state   *State
	tickets ticketKey
	journal *journal
	relays  *relayTable
	log     *slog.Logger

	mu         sync.Mutex
	byID       map[uint32]*entry
	bindings   *bindings // of free ids to the names that had them
	saveFailed bool      // the log says so; the goroutine of Server.tend has it
	byKey      map[transport.Key]*entry
	serial     uint64
	reserved   uint64    // what State.Serial says
	graceEnds  time.Time // zero once settled
	emptySince time.Time // zero while there are members
	frozen     bool      // the server stops
}

// An entry is a member and the connection that it is here by.
type entry struct {
	Member
	session *session
	encoded []byte // the update that tells of the member
}

func newMembership(p addressPlan, state *State, lease time.Duration,
	log *slog.Logger) (*membership, error) {
	tickets, err := newTicketKey(state.file.Seed)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	r := &membership{
		plan: p, state: state, tickets: tickets, log: log,
		journal: newJournal(), relays: newRelayTable(),
		byID: make(map[uint32]*entry), byKey: make(map[transport.Key]*entry),
		bindings: newBindings(),
		serial:   state.serial(), reserved: state.serial(), emptySince: now,
	}
	r.loadBindings()
	if r.serial > 0 || len(r.bindings.reclaimable) > 0 {
		r.graceEnds = now.Add(lease)
	}
	return r, nil
}

// admit makes an applicant, who is the holder of the session's key, a member, or has
// it come back. An earlier session of the same key is displaced: the caller closes it.
// Holders of its name that are dead lose their ids, all at the same moment.
func (r *membership) admit(m Member, s *session, dead ...*session) (_ Member,
	displaced *session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byKey[s.key]
	switch {
	case r.frozen:
		return m, nil, refuse(codeShutdown, "the coordinator stops")
	case m.ID == 0: // a newcomer; whoever it was before is somebody else
		if old != nil {
			r.removeLocked(old)
			displaced, old = old.session, nil
		}
		for _, d := range dead {
			if e := r.byID[d.id]; e != nil && e.session == d {
				r.removeLocked(e)
			}
		}
		var kept bool
		if m.ID, kept = r.bindings.take(m.Name); !kept {
			if m.ID, err = r.nextIDLocked(); err != nil {
				return m, displaced, err
			}
		}
		m.Addr = r.plan.addr(m.ID)
		if m.Name == "" {
			m.Name = OrdinalName(m.ID)
		}
	case m.ID > r.plan.max || m.Addr != r.plan.addr(m.ID):
		return m, nil, refuse(codeEvicted,
			"%v is outside the network %v by now; start the node anew", m.Addr,
			r.plan.prefix)
	case r.byID[m.ID] != nil && r.byID[m.ID] != old:
		return m, nil, refuse(codeEvicted,
			"%v belongs to another node by now; start the node anew", m.Addr)
	case old != nil:
		displaced = old.session
	}
	m.Addr6 = r.plan.addr6(m.ID)
	s.id = m.ID
	e := &entry{m, s, appendUp(nil, recordOf(m))}
	if old != nil && !old.same(m) {
		r.removeLocked(old)
		old = nil
	}
	r.bindings.forget(m.ID)
	r.byID[m.ID], r.byKey[m.Key] = e, e
	r.emptySince = time.Time{}
	r.relays.set(m.ID, s.remote)
	if old == nil {
		r.journal.append(e.encoded)
		r.bindings.dirty = true
	}
	return m, displaced, nil
}

// applicant checks what a hello claims, and returns the member that it asks to
// be; the id is zero if it is to get a new one.
func (r *membership) authorize(h *hello, key transport.Key) (Member, error) {
	m := Member{Key: key, Host: h.Host, Program: h.Program,
		Since: time.Now().UTC().Truncate(time.Millisecond)}
	if h.Ticket != "" {
		t, err := r.tickets.open(h.Ticket, key)
		if err != nil {
			return m, refuse(codeToken, "%v", err)
		}
		m.ID, m.Name, m.Addr, m.Since = t.ID, t.Name, t.Addr, t.Since
		return m, nil
	}
	if err := r.state.admits(h.Token, time.Now()); err != nil {
		return m, err
	}
	if h.Name != "" {
		name, err := CheckName(h.Name)
		if err != nil {
			return m, refuse(codeName, "%v", err)
		}
		m.Name = name
	}
	return m, nil
}

// nextLocked returns an id that nobody holds.
func (r *membership) nextIDLocked() (uint32, error) {
	size := uint64(r.plan.max)
	if uint64(len(r.byID)) >= size {
		return 0, refuse(codeFull, "all %d addresses of %v are taken; stop a node or give the coordinator a larger prefix", size, r.plan.prefix)
	}
	for {
		if r.serial >= size && !r.graceEnds.IsZero() {
			return 0, refuse(codeFull, "the coordinator has just started, and keeps the %d addresses of %v for the nodes that were there; try again in %v",
				size, r.plan.prefix, time.Until(r.graceEnds).Round(time.Second))
		}
		if uint64(len(r.byID)+r.bindings.order.Len()) >= size {
			id, ok := r.bindings.oldest()
			if !ok {
				return 0, refuse(codeFull,
					"the coordinator has just started, and keeps the addresses of %v for the nodes that were there; try again in %v",
					r.plan.prefix, time.Until(r.graceEnds).Round(time.Second))
			}
			return id, nil
		}
		id := uint32(r.serial%size) + 1
		r.serial++
		if r.byID[id] == nil && r.bindings.byID[id] == nil {
			r.reserveSerialsLocked()
			return id, nil
		}
	}
}

// reserveLocked keeps the state file ahead of the serials in use. Where it
// cannot be written the network goes on: what is lost is the protection against
// giving an id away after a crash, and admit still refuses a second holder.
func (r *membership) reserveSerialsLocked() {
	if r.serial <= r.reserved {
		return
	}
	r.reserved = r.serial + min(serialBlock, uint64(r.plan.max)/16)
	if err := r.state.setSerial(r.reserved); err != nil {
		r.log.Error("coordinator state not saved; after a crash nodes may lose their addresses", "err", err)
	}
}

// remove ends the membership that came with the session, unless the node is
// back by another one.
func (r *membership) remove(id uint32, s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil && e.session == s {
		r.removeLocked(e)
	}
}

func (r *membership) removeLocked(e *entry) {
	delete(r.byID, e.ID)
	delete(r.byKey, e.Key)
	e.session.left.Store(true)
	r.relays.drop(e.ID)
	if !r.frozen {
		r.journal.append(appendDown(nil, e.ID))
		r.bindLocked(e.Member, false)
	}
	if len(r.byID) == 0 {
		r.emptySince = time.Now()
	}
}

// list appends what a session begins with: the members, as frames of news, as of
// the update with the number that it returns.
func (r *membership) appendList(dst []byte) ([]byte, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seq := r.journal.seq()
	rest := slices.Sorted(maps.Keys(r.byID))
	var updates []byte
	for {
		n, flags := min(len(rest), maxUpdates), flagList
		updates = updates[:0]
		for _, id := range rest[:n] {
			updates = append(updates, r.byID[id].encoded...)
		}
		if rest = rest[n:]; len(rest) > 0 {
			dst = appendBatch(dst, flags, seq, updates)
			continue
		}
		if flags |= flagLast; !r.graceEnds.IsZero() {
			flags |= flagGrace
		}
		return appendBatch(dst, flags, seq, updates), seq
	}
}

// snapshot returns the members with their paths, in the order of their ids.
func (r *membership) snapshot() []Member {
	r.mu.Lock()
	members := make([]Member, 0, len(r.byID))
	for _, e := range r.byID {
		members = append(members, e.Member)
	}
	r.mu.Unlock()
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members
}

// report keeps what the node says about its paths and itself. The slice is kept as it is.
func (r *membership) setReport(id uint32, s *session, paths []PathReport, about *About) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil && e.session == s {
		e.Paths, e.About = paths, about
	}
}

// moved says that the node is reached at another address from now on.
func (r *membership) setAddr(s *session, addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[s.id]; e != nil && e.session == s {
		r.relays.set(s.id, addr)
	}
}

// named returns the connections of the nodes of a name.
func (r *membership) sessionsNamed(name string) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*session
	for _, e := range r.byID {
		if e.Name == name {
			all = append(all, e.session)
		}
	}
	return all
}

// setSilent tells everybody that the node does not answer, or that it does again.
func (r *membership) setUnresponsive(s *session, unresponsive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[s.id]
	if e == nil || e.session != s || e.Unresponsive == unresponsive || r.frozen {
		return
	}
	e.Unresponsive = unresponsive
	e.encoded = appendUp(nil, recordOf(e.Member))
	r.journal.append(e.encoded)
}

// session returns the connection of the node with that id; nil if there is none.
func (r *membership) session(id uint32) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil {
		return e.session
	}
	return nil
}

// size returns the number of members.
func (r *membership) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.byID)
}

// sessions returns the connections of all members.
func (r *membership) sessions() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*session, 0, len(r.byID))
	for _, e := range r.byID {
		all = append(all, e.session)
	}
	return all
}

// settle ends the time in which nodes of the coordinator's previous run may come
// back, if it is over, and tells everybody.
func (r *membership) endGrace(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.graceEnds.IsZero() && now.After(r.graceEnds) {
		r.graceEnds = time.Time{}
		r.bindings.endGrace()
		r.journal.append([]byte{byte(kindGraceEnded)})
	}
}

// idle returns for how long there has been no member.
func (r *membership) idleFor(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.emptySince.IsZero() {
		return 0
	}
	return now.Sub(r.emptySince)
}

// freeze has the roster tell nobody anything more: the server stops, and its
// members are not gone, they are to look for the next one.
func (r *membership) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen {
		return
	}
	r.frozen = true
	for _, e := range r.byID {
		r.bindLocked(e.Member, true)
	}
}

// close keeps the serial for the next run: exactly, since no more ids are handed
// out. forget has the next run begin from the first id, for a network that
// everybody has left.
func (r *membership) close(forget bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.relays.clear()
	if err := r.state.saveBindings(r.bindingsLocked(), true); err != nil {
		r.log.Error("names not saved; nodes may get other addresses", "err", err)
	}
	serial := r.serial
	if forget {
		serial = 0
	}
	if err := r.state.setSerial(serial); err != nil {
		return fmt.Errorf("coordinator state: %w", err)
	}
	return nil
}
