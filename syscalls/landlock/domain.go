package landlock

import (
	"crypto/sha256"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A Right is a set of network rights: handled_access_net of struct landlock_ruleset_attr.
type Right uint64

const (
	BindTCP    Right = unix.LANDLOCK_ACCESS_NET_BIND_TCP
	ConnectTCP Right = unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	TCP              = BindTCP | ConnectTCP

	// FastOpen stands for ConnectTCP where a send with MSG_FASTOPEN connects. The kernel
	// has no such right.
	FastOpen Right = 1 << 63
)

// Ports is a set of ports.
type Ports [1 << 16 / 64]uint64

// Add adds a port to the set.
func (s *Ports) Add(port uint16) { s[port/64] |= 1 << (port % 64) }

func (s *Ports) has(port uint16) bool { return s[port/64]&(1<<(port%64)) != 0 }

// A Domain has the ports that a landlock(7) domain denies.
type Domain struct {
	bind, connect Ports
	// fastOpen reports whether the kernel asks for the right to connect also where a send
	// with MSG_FASTOPEN connects. Linux 6.18 does not.
	fastOpen bool
}

// Denies reports whether the domain denies a right to a port. The right is one of
// BindTCP, ConnectTCP and FastOpen.
func (d *Domain) Denies(right Right, port uint16) bool {
	switch right {
	case BindTCP:
		return d.bind.has(port)
	case FastOpen:
		return d.fastOpen && d.connect.has(port)
	}
	return d.connect.has(port)
}

// and returns a domain that denies what d or o denies. Either may be nil.
func (d *Domain) and(o *Domain) *Domain {
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

// hash returns the same value for domains that deny the same.
func (d *Domain) hash() [sha256.Size]byte {
	b := make([]byte, 0, 2*8*len(d.bind)+1)
	for _, s := range [...]*Ports{&d.bind, &d.connect} {
		for _, bits := range s {
			b = binary.NativeEndian.AppendUint64(b, bits)
		}
	}
	if d.fastOpen {
		b = append(b, 1)
	}
	return sha256.Sum256(b)
}
