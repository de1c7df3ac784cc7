package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// An ipRelay carries the fields of IP headers of a relayed connection: what the program
// chooses goes to the far side, and the supervisor's socket sends to the program with
// what the far side has chosen.
type ipRelay struct {
	mu   sync.Mutex
	conn *loopConn       // nil: not there yet
	told bool            // the far side has told of others than conn had first
	in   stream.IPFields // of the far side, if told
	set  stream.IPFields // those that conn has
	far  Stream          // nil: not there yet
	out  *stream.IPFields
}

// toProgram notes the fields of the far side's packets.
func (r *ipRelay) toProgram(f stream.IPFields) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in, r.told = f, true
	r.applyLocked()
}

// attachConn tells the relay's end of the connection, which has the fields set.
func (r *ipRelay) attachConn(c *loopConn, set stream.IPFields) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conn, r.set = c, set
	r.applyLocked()
}

func (r *ipRelay) applyLocked() {
	if r.conn == nil || !r.told || r.in == r.set {
		return
	}
	r.conn.control(func(fd int) error {
		setIPFields(fd, r.in, r.set)
		return nil
	})
	r.set = r.in
}

// chosen tells the far side of the fields that the program's packets have from now on.
func (r *ipRelay) chosen(f stream.IPFields) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.out = &f; r.far != nil {
		r.far.SetIPFields(f)
	}
}

// attachFar tells the far side's stream, which knows the fields told.
func (r *ipRelay) attachFar(far Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.far = far; r.out != nil {
		far.SetIPFields(*r.out)
	}
}

// tellIPFields notes the fields that a program has chosen for a TCP socket. The far side
// learns of them if the socket is connected to another node.
func (n *Node) tellIPFields(s *progSocket) {
	id, err := s.cookie()
	if err != nil {
		return
	}
	f := n.ipFields(s.fd, false)
	n.ipChoices.set(id, f)
	local, ok, err := s.localName()
	if err != nil || !ok {
		return
	}
	if far, ok, err := s.peerName(); err == nil && ok {
		if p := n.relayed(unmapped(local.Addr), unmapped(far.Addr)); p != nil {
			p.ip.chosen(f)
		}
	}
}

// highestTTL is what no TTL is above.
const highestTTL = 255

// lowered has a socket that has the highest TTL send with a lower one until restore is
// called: a gate can refuse no other sockets. s may be nil.
func (s *progSocket) lowered() (restore func()) {
	if s == nil {
		return func() {}
	}
	linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TTL, highestTTL-1)
	return func() { linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_TTL, highestTTL) }
}

// minTTL returns the lowest TTL of what a TCP socket, of which fd is a copy, does not
// refuse (IP_MINTTL, ip(7)).
func (n *Node) minTTL(fd int) uint8 {
	if !n.ipChosen.Load() {
		return 0
	}
	v, err := linux.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL)
	if err != nil {
		return 0
	}
	return uint8(v)
}

// listenerFields returns the fields that a program has chosen for the listener at a
// kernel address.
func (n *Node) listenerFields(kernel netip.AddrPort) stream.IPFields {
	if !n.ipChosen.Load() {
		return stream.IPFields{}
	}
	m, found, err := n.diag.Listener(kernel)
	if err != nil || !found {
		return stream.IPFields{}
	}
	f, _ := n.ipChoices.get(m.Cookie)
	return f
}

// ipChoices has the fields that programs have chosen for TCP sockets, by SO_COOKIE.
type ipChoices struct {
	mu sync.Mutex
	m  map[uint64]stream.IPFields
}

// maxIPChoices bounds the table, from which nothing takes a closed socket.
const maxIPChoices = 4096

func (c *ipChoices) set(id uint64, f stream.IPFields) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[uint64]stream.IPFields)
	}
	for old := range c.m { // any: the map's order is random
		if len(c.m) < maxIPChoices {
			break
		}
		delete(c.m, old)
	}
	c.m[id] = f
}

func (c *ipChoices) get(id uint64) (f stream.IPFields, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok = c.m[id]
	return f, ok
}
