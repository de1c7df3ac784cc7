package coordinator

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// Evict removes the nodes with a name, an ordinal name or a virtual address. Their
// tickets are not accepted any more, the other nodes end their connections to them, and
// they do not come back: their programs have to be started again, with a token that is
// valid. It returns the nodes. It fails if there is none.
func (s *Server) Evict(target string) ([]Member, error) {
	gone := s.members.named(target)
	if len(gone) == 0 {
		return nil, fmt.Errorf("evict %q: no node has that name or address; see boxer status",
			clip(target, maxLabel))
	}
	return gone, s.evictMembers(gone, "an operator has evicted this node; restart it to join as a new one")
}

// RevokeToken makes a token admit nobody any more. Nodes that joined with it stay, unless
// evict is set: then they are evicted, the coordinator forgets the token, and its names
// are free. It returns the nodes that were evicted.
func (s *Server) RevokeToken(name string, evict bool) (gone []Member, err error) {
	g, err := s.cfg.State.revokeToken(name, evict, time.Now())
	if g.name == "" {
		return nil, err
	}
	s.audit.write(AuditEvent{Event: "token-revoke", Name: g.name})
	if evict {
		// The state needs no keys of these nodes: it refuses whoever joined with the
		// token.
		gone = s.members.joinedBy(g.id)
		s.dismiss(gone, "the token with which this node joined was revoked; restart it with another one")
	}
	if err != nil {
		return gone, fmt.Errorf("token %s: it is revoked, and nodes evicted: %d; but a coordinator that is started again would not know it: mend the cause, and revoke the token again: %w",
			g.name, len(gone), err)
	}
	return gone, nil
}

// evictMembers removes nodes for good. The state has their keys before they are removed.
func (s *Server) evictMembers(gone []Member, text string) error {
	if err := s.cfg.State.evict(keysOf(gone)); err != nil {
		return err
	}
	s.dismiss(gone, text)
	return nil
}

func keysOf(members []Member) []transport.Key {
	keys := make([]transport.Key, len(members))
	for i := range members {
		keys[i] = members[i].Key
	}
	return keys
}

// dismiss removes nodes that the state does not accept any more.
func (s *Server) dismiss(gone []Member, text string) {
	for i := range gone {
		s.audit.member("evict", gone[i], "", text)
		s.metrics.evictions.Inc()
	}
	for _, c := range s.members.removeKeys(keysOf(gone)) {
		s.log.Warn("node evicted", "id", c.id)
		_ = c.conn.CloseWithError(codeEvicted, text)
	}
	s.probes.notifyResponse()
}

// named returns the nodes with a name, an ordinal name or a virtual address.
func (r *membership) named(target string) []Member {
	addr, err := netip.ParseAddr(target)
	id, ordinal := ParseOrdinalName(target)
	return slices.DeleteFunc(r.snapshot(), func(m Member) bool {
		switch {
		case err == nil:
			return m.Addr != addr && m.Addr6 != addr
		case ordinal:
			return m.ID != id
		}
		name, err := CheckName(target)
		return err != nil || m.Name != name
	})
}

// joinedBy returns the nodes that joined with the token of that id.
func (r *membership) joinedBy(id string) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Member
	for _, e := range r.byID {
		if e.token == id {
			all = append(all, e.Member)
		}
	}
	return all
}

// removeKeys removes the members with these keys, and returns their sessions.
func (r *membership) removeKeys(keys []transport.Key) []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*session
	for _, k := range keys {
		if e := r.byKey[k]; e != nil {
			r.removeLocked(e)
			all = append(all, e.session)
		}
	}
	return all
}
