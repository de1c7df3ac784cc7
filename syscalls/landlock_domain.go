package syscalls

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A landlockRight is a right of struct landlock_ruleset_attr's handled_access_net.
type landlockRight uint64

const (
	landlockBind    landlockRight = unix.LANDLOCK_ACCESS_NET_BIND_TCP
	landlockConnect landlockRight = unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	landlockRights                = landlockBind | landlockConnect

	// landlockFastOpen is the right to connect, for a send with MSG_FASTOPEN.
	landlockFastOpen landlockRight = 1 << 63
)

// A portSet is a set of ports, one bit each.
type portSet [1 << 16 / 64]uint64

func (s *portSet) add(port uint16)      { s[port/64] |= 1 << (port % 64) }
func (s *portSet) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }

// A portDomain is what a landlock(7) domain denies.
type portDomain struct {
	bind, connect portSet
	// fastOpen says that the kernel asks for the right to connect also when a send with
	// MSG_FASTOPEN connects. Linux 6.18 does not.
	fastOpen bool
}

func (d *portDomain) denies(right landlockRight, port uint16) bool {
	switch right {
	case landlockBind:
		return d.bind.has(port)
	case landlockFastOpen:
		return d.fastOpen && d.connect.has(port)
	}
	return d.connect.has(port)
}

// and returns a domain that denies what either does. Either may be nil.
func (d *portDomain) and(o *portDomain) *portDomain {
	if d == nil {
		return o
	}
	both := *d
	if o != nil {
		for i := range both.bind {
			both.bind[i] |= o.bind[i]
			both.connect[i] |= o.connect[i]
		}
		both.fastOpen = both.fastOpen || o.fastOpen
	}
	return &both
}

// hash returns a hash of what the domain denies.
func (d *portDomain) hash() [sha256.Size]byte {
	b := make([]byte, 0, 2*8*len(d.bind)+1)
	for _, s := range [...]*portSet{&d.bind, &d.connect} {
		for _, bits := range s {
			b = binary.NativeEndian.AppendUint64(b, bits)
		}
	}
	if d.fastOpen {
		b = append(b, 1)
	}
	return sha256.Sum256(b)
}
