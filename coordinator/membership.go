package coordinator

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
	"github.com/boxer-sandbox/boxer/transport/tunnel"
)

// A membership holds the members of the network and assigns ids. It appends each change
// to the journal, so that all nodes learn of the changes in the same order.
//
// A node that joins under a name gets the last id of that name if it is free (bindings).
// Otherwise ids come from a serial number that only grows: serial s yields id s mod max +
// 1. Ids that are held or bound to a name are skipped. So an id is new until the prefix
// has been used up once. After that, the id that was assigned the longest ago comes
// first. If all others are taken, the name whose id was freed the longest ago loses it.
//
// A ticket for a free id is honoured. A ticket for an id that another key holds is
// refused, so that no address ever has two holders. An id can be assigned to another node
// while its holder is merely unreachable, but only after as many admissions as the prefix
// has addresses. After a restart, when no node is connected, the serial continues where
// it was (State). Once the prefix has been used up, newcomers then wait until the grace
// period is over, in which the former members can reclaim their ids.
type membership struct {
	plan    addressPlan
	state   *State
	tickets ticketKey
	tunnels *tunnel.Server // nil: none
	views   views          // by mu
	given   *policy.Policy // by mu; nil: none
	relays  *relayTable
	log     *slog.Logger

	mu         sync.Mutex
	byID       map[uint32]*entry
	bindings   *bindings // from free ids to the names that had them
	saveFailed bool      // the log says so; owned by the goroutine of Server.maintain
	byKey      map[transport.Key]*entry
	serial     uint64
	reserved   uint64    // the value in State.Serial
	graceEnds  time.Time // zero after the grace period
	emptySince time.Time // zero while there are members
	frozen     bool      // the server is stopping
}

// An entry is a member and its current session.
type entry struct {
	Member
	token   string // namedToken.ID; empty: a default token
	view    *view
	session *session
	encoded []byte // the update that announces the member
	away    bool   // the connection has ended, and the node is asleep
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
		views: newViews(nil), relays: newRelayTable(),
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

// admit makes the holder of the session's key a member, or reconnects it. It returns the
// earlier session of the same key, if there is one, for the caller to close. Holders of
// the member's name that are dead lose their ids in the same step.
func (r *membership) admit(m Member, g grant, s *session, dead ...*session) (_ Member,
	displaced *session, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.frozen {
		return m, nil, refuse(codeShutdown, "the coordinator is stopping")
	}
	if err := r.confirm(g, m, s.key); err != nil {
		return m, nil, err
	}
	if r.views.policy != nil && !s.enforces {
		return m, nil, refuse(codeProtocol, "%s", textOutdated)
	}
	old := r.byKey[s.key]
	switch {
	case m.ID == 0: // a new node, whatever node had the key before
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
			"%v is no longer in the network %v; restart the node", m.Addr,
			r.plan.prefix)
	case r.byID[m.ID] != nil && r.byID[m.ID] != old:
		return m, nil, refuse(codeEvicted,
			"%v now belongs to another node; restart the node", m.Addr)
	case old != nil:
		displaced = old.session
	}
	m.Addr6 = r.plan.addr6(m.ID)
	s.id = m.ID
	m.Token, m.Tags = g.name, g.tags
	e := &entry{Member: m, token: g.id, session: s, encoded: appendUp(nil, recordOf(m))}
	if old != nil && !old.same(m) {
		r.removeLocked(old)
		old = nil
	}
	if old != nil {
		r.leaveViewLocked(old)
	}
	r.setViewLocked(e)
	r.bindings.forget(m.ID)
	r.byID[m.ID], r.byKey[m.Key] = e, e
	r.emptySince = time.Time{}
	r.relays.set(m.ID, s.remote)
	if old == nil || !bytes.Equal(old.encoded, e.encoded) {
		r.publishLocked(e, e.encoded, true)
	}
	if old == nil {
		r.bindings.dirty = true
	}
	return m, displaced, nil
}

// authorize checks the claims of a hello and returns the member that it describes. The id
// is zero if the node needs a new one.
func (r *membership) authorize(h *hello, key transport.Key) (Member, grant, error) {
	m := Member{Key: key, Host: h.Host, Program: h.Program,
		Since: time.Now().UTC().Truncate(time.Millisecond)}
	if h.Presence != nil {
		m.Unlisted, m.Asleep = h.Presence.Unlisted, h.Presence.Asleep
	}
	if h.Ticket != "" {
		t, err := r.tickets.open(h.Ticket, key)
		if err != nil {
			return m, grant{}, refuse(codeToken, "%v", err)
		}
		m.ID, m.Name, m.Addr, m.Since = t.ID, t.Name, t.Addr, t.Since
		g, err := r.state.grantOf(t.Token, key)
		if err == nil {
			err = r.state.mayName(g, m.Name)
		}
		return m, g, err
	}
	g, err := r.state.admits(h.Token, time.Now())
	switch {
	case err != nil:
		return m, g, err
	case g.status:
		return m, g, refuse(codeToken, "the token %s shows the status of the network, and admits no node; join with another one",
			g.name)
	case h.Name != "":
		if m.Name, err = CheckName(h.Name); err != nil {
			return m, g, refuse(codeName, "%v", err)
		}
	case len(g.binds) == 1:
		m.Name = g.binds[0]
	}
	return m, g, r.state.mayName(g, m.Name)
}

// confirm checks a node again at the moment of its admission, since its token may have
// been revoked after authorize. It counts the use of the token by a new node.
func (r *membership) confirm(g grant, m Member, key transport.Key) error {
	if err := r.state.mayName(g, m.Name); err != nil {
		return err
	}
	if m.ID == 0 {
		return r.state.use(g, key, time.Now())
	}
	_, err := r.state.grantOf(g.id, key)
	return err
}

// nextIDLocked returns a free id.
func (r *membership) nextIDLocked() (uint32, error) {
	size := uint64(r.plan.max)
	if uint64(len(r.byID)) >= size {
		return 0, refuse(codeFull, "all %d addresses of %v are taken; stop a node or give the coordinator a larger prefix", size, r.plan.prefix)
	}
	for {
		if r.serial >= size && !r.graceEnds.IsZero() {
			return 0, refuse(codeFull, "the coordinator has just started, and reserves the %d addresses of %v for its former nodes; try again in %v",
				size, r.plan.prefix, time.Until(r.graceEnds).Round(time.Second))
		}
		if uint64(len(r.byID)+r.bindings.order.Len()) >= size {
			id, ok := r.bindings.oldest()
			if !ok {
				return 0, refuse(codeFull,
					"the coordinator has just started, and reserves the addresses of %v for its former nodes; try again in %v",
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

// reserveSerialsLocked keeps the serial in the state file ahead of those in use. If the
// file cannot be written, the network continues. It then loses its protection against
// assigning an id twice after a crash, but admit still refuses a second holder.
func (r *membership) reserveSerialsLocked() {
	if r.serial <= r.reserved {
		return
	}
	r.reserved = r.serial + min(serialBlock, uint64(r.plan.max)/16)
	if err := r.state.setSerial(r.reserved); err != nil {
		r.log.Error("coordinator state not saved; after a crash nodes may lose their addresses", "err", err)
	}
}

// remove ends the membership of a session, unless the node has reconnected by another
// one.
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
		r.publishLocked(e, appendDown(nil, e.ID), false)
		r.bindLocked(e.Member, false)
	}
	r.leaveViewLocked(e)
	if len(r.byID) == 0 {
		r.emptySince = time.Now()
	}
}

// appendList appends the frames of the member list, with which a session begins: of the
// session's own node, and of those that it sees. It sets the number of the last update
// that the list includes. The session's node may not know presences.
func (r *membership) appendList(dst []byte, s *session) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := s.view.Load()
	seq := w.journal.seq()
	s.sentView, s.sentSeq = w, seq
	rest := slices.Sorted(maps.Keys(r.byID))
	rest = slices.DeleteFunc(rest, func(id uint32) bool {
		return id != s.id && !r.views.see(w, r.byID[id].view)
	})
	var updates []byte
	flags, most := flagList, maxUpdates
	if r.views.policy != nil {
		flags, most = flags|flagPolicy, maxUpdates/2 // there are two for each member
	}
	for {
		n := 0
		updates = updates[:0]
		for n < len(rest) && n < most && len(updates) < maxBatch {
			updates = r.appendUpLocked(updates, r.byID[rest[n]], w)
			n++
		}
		if !s.presences {
			updates = withoutPresence(updates)
		}
		if rest = rest[n:]; len(rest) > 0 {
			dst = appendBatch(dst, flags, seq, updates)
			continue
		}
		if flags |= flagLast; !r.graceEnds.IsZero() {
			flags |= flagGrace
		}
		return appendBatch(dst, flags, seq, updates)
	}
}

// snapshot returns the members with their paths, in the order of their ids.
func (r *membership) snapshot() []Member {
	r.mu.Lock()
	members := make([]Member, 0, len(r.byID))
	for _, e := range r.byID {
		m := e.Member
		if r.tunnels != nil {
			if _, ok := r.tunnels.Client(addrPortOf(e.session.conn.RemoteAddr())); ok {
				m.Over = "tls"
			}
		}
		members = append(members, m)
	}
	r.mu.Unlock()
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members
}

// setReport stores what a node reports about its paths and its program. It does not copy
// paths.
func (r *membership) setReport(id uint32, s *session, paths []PathReport, about *About) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[id]; e != nil && e.session == s {
		e.Paths, e.About = paths, about
	}
}

// setAddr records that the node has another UDP address.
func (r *membership) setAddr(s *session, addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.byID[s.id]; e != nil && e.session == s {
		r.relays.set(s.id, addr)
	}
}

// sessionsNamed returns the sessions of the nodes with a name.
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

// setUnresponsive announces that the node does not answer, or that it answers again.
func (r *membership) setUnresponsive(s *session, unresponsive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byID[s.id]
	if e == nil || e.session != s || e.Unresponsive == unresponsive || r.frozen {
		return
	}
	e.Unresponsive = unresponsive
	e.encoded = appendUp(nil, recordOf(e.Member))
	r.publishLocked(e, e.encoded, true)
}

// session returns the session of the node with that id, or nil.
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

// sessions returns the sessions of all members.
func (r *membership) sessions() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*session, 0, len(r.byID))
	for _, e := range r.byID {
		all = append(all, e.session)
	}
	return all
}

// endGrace ends the grace period if its time is over, and announces that.
func (r *membership) endGrace(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.graceEnds.IsZero() && now.After(r.graceEnds) {
		r.graceEnds = time.Time{}
		r.bindings.endGrace()
		for _, w := range r.views.all {
			w.journal.append([]byte{byte(kindGraceEnded)})
		}
	}
}

// idleFor returns for how long there has been no member.
func (r *membership) idleFor(now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.emptySince.IsZero() {
		return 0
	}
	return now.Sub(r.emptySince)
}

// freeze stops all announcements, since the server is stopping. Its members are not gone:
// they reconnect to the next coordinator.
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

// close saves the serial for the next run: the exact one, since no more ids are assigned.
// With forget, the next run begins with the first id. That is for a network that all
// nodes have left.
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
