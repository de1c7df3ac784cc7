package syscalls

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
)

// Aliases is a node's block of loopback addresses: 127.0.0.0/8 is bindable as a
// whole without configuration or privilege. What each is for stands in the
// package comment.
type Aliases struct {
	Wildcard, Public, Private, Private6, Relay, Datagram, Ping netip.Addr

	claim *net.UDPConn
}

// aliasRange has all blocks: clear of 127.0.0.1, 127.0.0.53 and 127.0.1.1.
var aliasRange = netip.MustParsePrefix("127.64.0.0/10")

// blockOf returns the first address of the block that an alias is in.
func blockOf(alias netip.Addr) netip.Addr {
	a := alias.As4()
	a[3] &^= 7
	return netip.AddrFrom4(a)
}

// claimPort is the UDP port whose binding, on the block's first address, says
// that the block is taken. The kernel releases it with its owner, however that
// ends. It is not a port that programs of the node would use.
const claimPort = 49151

// claimTries bounds the search for a free block. There are 524,288.
const claimTries = 64

// ClaimAliases takes a free block of this host (of this network namespace).
func ClaimAliases() (*Aliases, error) {
	var errs error
	for range claimTries {
		r := rand.Uint32()
		base := blockOf(netip.AddrFrom4([4]byte{127, 64 | byte(r>>16)&0x3f, byte(r >> 8), byte(r)}))
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(base, claimPort)))
		if err != nil {
			errs = err
			continue
		}
		a := &Aliases{Wildcard: base, Public: base.Next(), claim: c}
		a.Private = a.Public.Next()
		a.Private6 = a.Private.Next()
		a.Relay = a.Private6.Next()
		a.Datagram = a.Relay.Next()
		a.Ping = a.Datagram.Next()
		return a, nil
	}
	return nil, fmt.Errorf("claim a loopback address: %w", errors.Join(errors.New("none was free"), errs))
}

// Release gives the block back.
func (a *Aliases) Release() error { return a.claim.Close() }
