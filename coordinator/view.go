package coordinator

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/policy"
)

// A view is what the nodes of one class of the policy see of the membership: the nodes to
// which they may connect, and those that may connect to them. Without a policy there is
// one view, of everything. All nodes of a class read one journal.
type view struct {
	journal *journal
	class   policy.Class
	subject policy.Subject // of one of the nodes; the policy treats all of them alike
	members int            // a view without one is dropped
}

// views are the views of a membership. The caller holds membership.mu.
type views struct {
	policy *policy.Policy // nil: everybody sees everything
	all    map[policy.Class]*view
	access map[[2]policy.Class]policy.Ports // what the policy says, from and to a class
}

// newViews returns the views of a policy. A policy that allows everything is as none.
func newViews(p *policy.Policy) views {
	if p != nil && p.AllowsAll() {
		p = nil
	}
	v := views{policy: p, all: make(map[policy.Class]*view),
		access: make(map[[2]policy.Class]policy.Ports)}
	if p == nil {
		v.all[""] = &view{journal: newJournal(), members: 1} // never dropped
	}
	return v
}

func subjectOf(m Member) policy.Subject { return policy.Subject{Name: m.Name, Tags: m.Tags} }

// of returns the view of a member, which may be new.
func (v *views) of(m Member) *view {
	if v.policy == nil {
		return v.all[""]
	}
	s := subjectOf(m)
	class := v.policy.Class(s)
	w := v.all[class]
	if w == nil {
		w = &view{journal: newJournal(), class: class, subject: s}
		v.all[class] = w
	}
	return w
}

// drop forgets a view that no member has.
func (v *views) drop(w *view) {
	if w.members == 0 && v.all[w.class] == w {
		delete(v.all, w.class)
		for pair := range v.access {
			if pair[0] == w.class || pair[1] == w.class {
				delete(v.access, pair)
			}
		}
	}
}

// ports returns the ports of nodes of one view to which nodes of another one may connect.
func (v *views) ports(from, to *view) policy.Ports {
	if v.policy == nil {
		return policy.AllPorts()
	}
	pair := [2]policy.Class{from.class, to.class}
	p, ok := v.access[pair]
	if !ok {
		p = v.policy.Ports(from.subject, to.subject)
		v.access[pair] = p
	}
	return p
}

// see reports whether nodes of two views know each other: one may connect to the other.
func (v *views) see(a, b *view) bool {
	return v.policy == nil || !v.ports(a, b).Empty() || !v.ports(b, a).Empty()
}

// publishLocked appends an update about a member to the journals of those who see it. If
// the update announces the member, what it may do precedes it.
func (r *membership) publishLocked(e *entry, update []byte, announces bool) {
	for _, w := range r.views.all {
		if !r.views.see(e.view, w) {
			continue
		}
		if announces && r.views.policy != nil {
			w.journal.append(appendAccess(nil, e.ID, r.views.ports(e.view, w)))
		}
		w.journal.append(update)
	}
}

// setViewLocked puts a member into the view of its class.
func (r *membership) setViewLocked(e *entry) {
	e.view = r.views.of(e.Member)
	if r.views.policy != nil {
		e.view.members++
	}
	e.session.view.Store(e.view)
}

func (r *membership) leaveViewLocked(e *entry) {
	if r.views.policy != nil {
		e.view.members--
		r.views.drop(e.view)
	}
}

// appendUpLocked appends what a session of that view learns about a member: the update
// that announces the member, and before it what the member may do.
func (r *membership) appendUpLocked(dst []byte, e *entry, w *view) []byte {
	if r.views.policy != nil {
		dst = appendAccess(dst, e.ID, r.views.ports(e.view, w))
	}
	return append(dst, e.encoded...)
}

// setPolicy replaces the policy; nil allows everything. Every node gets the list of what
// it sees now. It returns the sessions of nodes that do not enforce policies, which are
// no members any more.
func (r *membership) setPolicy(p *policy.Policy) (outdated []*session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if next := newViews(p); next.policy != nil {
		for _, e := range r.byID {
			if !e.session.enforces {
				r.removeLocked(e)
				outdated = append(outdated, e.session)
			}
		}
	}
	old := r.views
	r.views, r.given = newViews(p), p
	for _, e := range r.byID {
		r.setViewLocked(e)
	}
	for _, w := range old.all {
		w.journal.retire()
	}
	return outdated
}

// visible returns the session of the node with that id, or nil if there is none that the
// node of another session sees.
func (r *membership) visible(from *session, id uint32) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, b := r.byID[from.id], r.byID[id]
	if a == nil || b == nil || a.session != from || a != b &&
		!r.views.see(a.view, b.view) {
		return nil
	}
	return b.session
}

// snapshotFor returns the members that the bearer of a token, as a node of that name,
// would see: all, if there is no policy or if the token is a status token. The paths of
// each lead to such members only.
func (r *membership) snapshotFor(g grant, name string) []Member {
	all := r.snapshot()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.views.policy
	if p == nil || g.status {
		return all
	}
	self := policy.Subject{Name: name, Tags: g.tags}
	seen := make(map[uint32]bool)
	kept := all[:0]
	for _, m := range all {
		s := subjectOf(m)
		if name != "" && m.Name == name || !p.Ports(self, s).Empty() ||
			!p.Ports(s, self).Empty() {
			seen[m.ID] = true
			kept = append(kept, m)
		}
	}
	for i := range kept {
		var paths []PathReport
		for _, path := range kept[i].Paths {
			if seen[path.Peer] {
				paths = append(paths, path)
			}
		}
		kept[i].Paths = paths
	}
	return kept
}

// maxAccess limits the ports in an update of kindAccess, in bytes.
const maxAccess = policy.MaxText

// appendAccess appends the update that says to which ports of the receiver a member may
// connect.
func appendAccess(dst []byte, id uint32, ports policy.Ports) []byte {
	text := ports.String()
	dst = binary.AppendUvarint(append(dst, byte(kindAccess)), uint64(id))
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// access reads the rest of such an update.
func (p *parser) access() (id uint32, ports policy.Ports) {
	id = uint32(p.uvarint(maxNodes))
	text := p.text(maxAccess)
	if !p.bad {
		p.bad = ports.UnmarshalText([]byte(text)) != nil
	}
	return id, ports
}

// skipAccess skips an update of kindAccess, and does not parse its ports.
func (p *parser) skipAccess() {
	p.byte()
	p.uvarint(maxNodes)
	p.bytes(int(p.uvarint(maxAccess)))
}
