package syscalls

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Aliases is a node's block of loopback addresses. Every address of 127.0.0.0/8 can be
// bound without configuration or privilege. The package comment lists the aliases.
type Aliases struct {
	Wildcard, Public, Private, Relay, Datagram, Ping       netip.Addr
	Wildcard6, Public6, Private6, Relay6, Datagram6, Ping6 netip.Addr
	Dual                                                   netip.Addr

	claim *net.UDPConn
}

// A role is the meaning of an alias: its offset in the block.
type role byte

const (
	wildcard role = iota
	public
	private
	relayEnd
	datagramEnd
	dual
	ping
	unused // no socket is ever bound there

	// v6 is set in the roles of IPv6. The alias at the other end of a connection to the
	// dual wildcard says which family the connection has.
	v6 role = 8

	wildcard6 = wildcard | v6
	public6   = public | v6
	private6  = private | v6

	blockSize = 16
)

// aliasRange contains all blocks. It does not overlap 127.0.0.1, 127.0.0.53 and
// 127.0.1.1.
var aliasRange = netip.MustParsePrefix("127.64.0.0/10")

// blockOf returns the first address of the block that an alias is in.
func blockOf(alias netip.Addr) netip.Addr {
	a := alias.As4()
	a[3] &^= blockSize - 1
	return netip.AddrFrom4(a)
}

// roleOf returns the role of an address in its node's block; ok is false if it has none.
func roleOf(a netip.Addr) (r role, ok bool) {
	if !aliasRange.Contains(a) {
		return 0, false
	}
	return role(a.As4()[3] & (blockSize - 1)), true
}

// role returns the role of an address in this node's block.
func (a *Aliases) role(addr netip.Addr) (r role, ok bool) {
	if r, ok = roleOf(addr); !ok || blockOf(addr) != a.Wildcard {
		return 0, false
	}
	return r, true
}

// of returns the alias with a role.
func (a *Aliases) of(r role) netip.Addr {
	b := a.Wildcard.As4()
	b[3] |= byte(r)
	return netip.AddrFrom4(b)
}

// rivals returns the roles that cannot share a port with role r, besides r itself: a
// wildcard conflicts with every address of its family.
func (r role) rivals() []role {
	switch r {
	case wildcard:
		return []role{public, private, dual}
	case wildcard6:
		return []role{public6, private6, dual}
	case dual:
		return []role{wildcard, public, private, wildcard6, public6, private6}
	}
	return []role{wildcard | r&v6, dual}
}

// claimPort is the UDP port that a node binds on the first address of its block to claim
// the block. The kernel releases the port when the process ends. Programs of the node are
// unlikely to use it.
const claimPort = 49151

// claimTries bounds the search for a free block. There are 262,144.
const claimTries = 64

// ErrLoopbackDown means that this host's loopback interface is down. All connections of
// programs use it.
var ErrLoopbackDown = errors.New("the loopback interface is down; bring it up: ip link set lo up")

// loopbackUp fails with ErrLoopbackDown if the interface is down. Addresses could be
// bound nevertheless, and connects to them would hang.
func loopbackUp() error {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer linux.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r) == nil && r.Uint16()&unix.IFF_UP == 0 {
		return ErrLoopbackDown
	}
	return nil // it may have another name
}

// ClaimAliases claims a free block of this network namespace. It fails with
// ErrLoopbackDown if the interface is down.
func ClaimAliases() (*Aliases, error) {
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	var errs error
	for range claimTries {
		r := rand.Uint32()
		base := blockOf(netip.AddrFrom4([4]byte{127, 64 | byte(r>>16)&0x3f, byte(r >> 8), byte(r)}))
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(base,
			claimPort)))
		if err != nil {
			errs = err
			continue
		}
		a := &Aliases{Wildcard: base, claim: c}
		a.Public, a.Public6 = a.of(public), a.of(public6)
		a.Private, a.Private6 = a.of(private), a.of(private6)
		a.Relay, a.Relay6 = a.of(relayEnd), a.of(relayEnd|v6)
		a.Datagram, a.Datagram6 = a.of(datagramEnd), a.of(datagramEnd|v6)
		a.Ping, a.Ping6 = a.of(ping), a.of(ping|v6)
		a.Wildcard6, a.Dual = a.of(wildcard6), a.of(dual)
		return a, nil
	}
	return nil, fmt.Errorf("claim a loopback address: %w",
		errors.Join(errors.New("none was free"), errs))
}

// Release releases the block.
func (a *Aliases) Release() error { return a.claim.Close() }

// Claim returns the socket that claims the block, bound to the block's first address. The
// node proves with it to nodes on the same host that the block is its own. Release closes
// it.
func (a *Aliases) Claim() *net.UDPConn { return a.claim }

// InBlock reports whether an address is in the block that is claimed at the address
// claim, see Aliases.Claim.
func InBlock(claim netip.AddrPort, addr netip.Addr) bool {
	return claim.Port() == claimPort && aliasRange.Contains(claim.Addr()) &&
		claim.Addr() == blockOf(claim.Addr()) &&
		aliasRange.Contains(addr) && blockOf(addr) == claim.Addr()
}
