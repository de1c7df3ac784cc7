package coordinator

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// An updateBatch carries changes of the membership: first the list of the members, then
// each change. When 1,000 nodes join, the coordinator sends a million updates. So the
// encoding is compact and not JSON, and the coordinator encodes each change once, for all
// nodes. A member takes 43 bytes plus its name and host; in JSON it took 220 plus these.
//
// The body of its frame:
//
//	mark      1 byte, batchMark, with which no JSON text begins
//	flags     1 byte
//	seq       uvarint; number of the last change, in this batch or in the list
//	updates   up to maxUpdates, until the end of the body
//
// An update is one byte, its kind, and then
//
//	up, unresponsive: id uvarint, key 32 bytes, since uvarint (Unix ms), name, host
//	presence:         flags 1 byte, then the same
//	down:             id uvarint
//	grace ended:      nothing
//	access:           id uvarint, ports as text
//
// An update of kind access says to which ports of the receiver a member may connect. It
// precedes the update that announces the member. Only networks with a policy have it.
//
// Name and host are a length (uvarint) and the bytes. An empty name stands for node-ID.
// The addresses of a member are not sent, since its id determines them; see addressPlan.
type updateBatch struct {
	// list means that the updates, all of kind up or unresponsive, are a part of the
	// member list. The part with last completes the list, which then replaces what the
	// receiver knew. inGrace goes with last: the coordinator is in its grace period. A
	// node that is missing in the list may still come back, until the update for the end
	// of this period. policy goes with every part: the network has a policy, and updates
	// of kindAccess say what members may do.
	list, last, inGrace, policy bool

	seq     uint64
	updates []update
}

// An update is one change of the membership. Updates of a list have no numbers. Later
// updates are numbered without a gap.
type update struct {
	kind   updateKind
	record memberRecord // only the id for kindDown, kindAccess; empty for kindGraceEnded
	access policy.Ports // of kindAccess
}

// A memberRecord is what every node knows about a member.
type memberRecord struct {
	id           uint32
	unresponsive bool
	presence     Presence
	key          transport.Key
	name         string // empty: node-ID
	host         string
	since        int64 // ms since 1970
}

// same is Member.same for records.
func (c *memberRecord) same(o *memberRecord) bool {
	return c.id == o.id && c.key == o.key && c.name == o.name && c.host == o.host
}

// recordOf returns what the other nodes learn about a member.
func recordOf(m Member) memberRecord {
	c := memberRecord{m.ID, m.Unresponsive, m.presence(), m.Key, m.Name, m.Host,
		m.Since.UnixMilli()}
	if m.Name == OrdinalName(m.ID) {
		c.name = ""
	}
	return c
}

// member is the inverse of recordOf.
func (p addressPlan) member(c memberRecord) Member {
	m := Member{ID: c.id, Name: c.name, Addr: p.addr(c.id), Addr6: p.addr6(c.id),
		Key: c.key, Host: c.host,
		Since: time.UnixMilli(c.since).UTC(), Unresponsive: c.unresponsive,
		Unlisted: c.presence.Unlisted, Asleep: c.presence.Asleep}
	if m.Name == "" {
		m.Name = OrdinalName(c.id)
	}
	return m
}

type updateKind byte

const (
	kindUp           updateKind = iota + 1 // the member has come, or answers again
	kindUnresponsive                       // like kindUp, with Member.Unresponsive
	kindDown
	kindGraceEnded
	// like kindUp, with Member.Unresponsive, Unlisted and Asleep as flags; only for nodes
	// that have sent hello.Presence
	kindPresence
	kindAccess updateKind = 16
)

const (
	batchMark = 0x01
	// in one frame: at no more than 250 bytes each they fit maxFrame
	maxUpdates = 2048
)

const (
	flagList byte = 1 << iota
	flagLast
	flagGrace
	flagPolicy
	knownFlags = flagList | flagLast | flagGrace | flagPolicy
)

// appendUp appends the update that announces a member.
func appendUp(dst []byte, c memberRecord) []byte {
	switch {
	case c.presence != (Presence{}):
		dst = append(dst, byte(kindPresence), presenceFlags(c))
	case c.unresponsive:
		dst = append(dst, byte(kindUnresponsive))
	default:
		dst = append(dst, byte(kindUp))
	}
	dst = binary.AppendUvarint(dst, uint64(c.id))
	dst = append(dst, c.key[:]...)
	dst = binary.AppendUvarint(dst, uint64(c.since))
	for _, s := range [...]string{c.name, c.host} {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return dst
}

// appendDown appends the update that announces the end of a membership.
func appendDown(dst []byte, id uint32) []byte {
	return binary.AppendUvarint(append(dst, byte(kindDown)), uint64(id))
}

// appendBatch appends a frame with encoded updates.
func appendBatch(dst []byte, flags byte, seq uint64, updates []byte) []byte {
	head := binary.AppendUvarint([]byte{batchMark, flags}, seq)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(head)+len(updates)))
	return append(append(dst, head...), updates...)
}

// appendTo appends the frame of the batch.
func (n *updateBatch) appendTo(dst []byte) []byte {
	var flags byte
	if n.list {
		flags |= flagList
	}
	if n.last {
		flags |= flagLast
	}
	if n.inGrace {
		flags |= flagGrace
	}
	if n.policy {
		flags |= flagPolicy
	}
	var updates []byte
	for _, u := range n.updates {
		switch u.kind {
		case kindDown:
			updates = appendDown(updates, u.record.id)
		case kindGraceEnded:
			updates = append(updates, byte(kindGraceEnded))
		case kindAccess:
			updates = appendAccess(updates, u.record.id, u.access)
		default:
			updates = appendUp(updates, u.record)
		}
	}
	return appendBatch(dst, flags, n.seq, updates)
}

// decodeBatch decodes the body of a frame that begins with batchMark. The result does not
// refer to b.
func decodeBatch(b []byte) (*updateBatch, error) {
	p := parser{rest: b[1:]}
	flags := p.byte()
	n := &updateBatch{list: flags&flagList != 0, last: flags&flagLast != 0,
		inGrace: flags&flagGrace != 0, policy: flags&flagPolicy != 0,
		seq: p.uvarint(1<<64 - 1)}
	if flags&^knownFlags != 0 || flags&(flagLast|flagGrace|flagPolicy) != 0 && !n.list {
		return nil, fmt.Errorf("%w: batch of updates with flags %#x", ErrProtocol, flags)
	}
	if len(p.rest) > 0 {
		// A member takes at least 40 bytes. For shorter updates the slice grows.
		n.updates = make([]update, 0, min(len(p.rest)/40+1, maxUpdates))
	}
	for len(p.rest) > 0 && !p.bad {
		if len(n.updates) == maxUpdates {
			return nil, fmt.Errorf("%w: batch with more than %d updates", ErrProtocol,
				maxUpdates)
		}
		u := p.update()
		if n.list && !u.kind.isUp() && u.kind != kindAccess {
			p.bad = true
		}
		n.updates = append(n.updates, u)
	}
	if p.bad {
		return nil, fmt.Errorf("%w: batch with an update that is cut short or out of bounds",
			ErrProtocol)
	}
	return n, nil
}

// A parser reads values from the rest of a body. When a value is cut short or out of
// bounds, it sets bad. Its results then have no meaning.
type parser struct {
	rest []byte
	bad  bool
}

func (p *parser) byte() byte {
	if b := p.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// bytes returns the next n bytes, or nil if there are fewer.
func (p *parser) bytes(n int) []byte {
	if n > len(p.rest) {
		p.bad, p.rest = true, nil
		return nil
	}
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

// uvarint reads a number, which may be at most most.
func (p *parser) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(p.rest)
	if n <= 0 || v > most {
		p.bad, p.rest = true, nil
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

// text reads a string of at most most bytes.
func (p *parser) text(most int) string { return string(p.bytes(int(p.uvarint(uint64(most))))) }

func (p *parser) update() (u update) {
	u.kind = updateKind(p.byte())
	c := &u.record
	switch u.kind {
	case kindDown:
		c.id = uint32(p.uvarint(maxNodes))
	case kindGraceEnded:
		return u
	case kindAccess:
		c.id, u.access = p.access()
	case kindUp, kindUnresponsive, kindPresence:
		c.unresponsive = u.kind == kindUnresponsive
		if u.kind == kindPresence {
			p.presenceFlags(c)
		}
		c.id = uint32(p.uvarint(maxNodes))
		copy(c.key[:], p.bytes(len(c.key)))
		c.since = int64(p.uvarint(1<<64 - 1))
		c.name, c.host = p.text(maxLabel), p.text(maxHost)
		p.bad = p.bad || c.name != "" && !isLabel(c.name) || !isHostID(c.host)
	default:
		p.bad = true
	}
	p.bad = p.bad || c.id == 0
	return u
}
