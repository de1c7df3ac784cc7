package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// An offer is the one kind of message that nodes exchange through the coordinator. It
// says where the sender can be reached, and has the secret that a check needs. A newer
// offer replaces an older one.
//
// The wire form, all numbers big endian:
//
//	0       version, 1
//	1       flags: 1 the sender wants an offer in return; others are 0 and ignored
//	2..3    length of the rest
//	4..     ufrag, password, host: length (1 byte), bytes
//	..      number of candidates (1 byte), each: type (1 byte), family, port, address
//	..      options as in a stream's header, skipped
type offer struct {
	wantsAnswer bool
	credentials credentials
	host        string // the sender's Config.Host; empty: unknown
	candidates  []candidate
}

// credentials are those of the sender of an offer, as in ICE (RFC 8445 section 5.3). The
// username fragment says which node a check is for. The password proves that the sender
// of a check has the offer.
type credentials struct{ ufrag, password string }

// A candidate is an address at which the sender of an offer might be reached.
type candidate struct {
	kind candidateKind
	addr netip.AddrPort
}

// A candidateKind says what an address in an offer is.
type candidateKind uint8

// The numbers are on the wire. The relay is no candidate: every node has it.
const (
	candidateLocal     candidateKind = 1 // loopback: for nodes with the same host only
	candidateHost      candidateKind = 2 // an address of an interface
	candidateReflexive candidateKind = 3 // the address that the coordinator sees
	candidateOwn       candidateKind = 4 // not a path: see Config.Own
)

const (
	offerVersion  = 1
	offerPreamble = 4
	// maxOffer bounds the size of an offer in bytes: every signaller can carry it.
	maxOffer = 2048
	// maxCandidates bounds the checks that one offer can cause. RFC 8445 section 6.1.2.5
	// says 100 pairs. A host with more than a few addresses has bridges of containers,
	// which are no paths.
	maxCandidates = 24

	flagWantsAnswer = 1
)

var errOffer = errors.New("offer: malformed")

// appendTo appends the wire form.
func (o *offer) appendTo(dst []byte) []byte {
	start := len(dst)
	var flags byte
	if o.wantsAnswer {
		flags |= flagWantsAnswer
	}
	dst = append(dst, offerVersion, flags, 0, 0)
	for _, s := range []string{o.credentials.ufrag, o.credentials.password, o.host} {
		s = s[:min(len(s), 255)]
		dst = append(dst, byte(len(s)))
		dst = append(dst, s...)
	}
	n := min(len(o.candidates), maxCandidates)
	dst = append(dst, byte(n))
	for _, c := range o.candidates[:n] {
		dst = append(dst, byte(c.kind))
		dst = appendAddrPort(dst, c.addr)
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-offerPreamble))
	return dst
}

// parseOffer reads a wire form that is exactly b.
func parseOffer(b []byte) (*offer, error) {
	if len(b) < offerPreamble || len(b) > maxOffer {
		return nil, errOffer
	}
	if b[0] != offerVersion {
		return nil, fmt.Errorf("offer: version %d, want %d", b[0], offerVersion)
	}
	o := &offer{wantsAnswer: b[1]&flagWantsAnswer != 0}
	if int(binary.BigEndian.Uint16(b[2:])) != len(b)-offerPreamble {
		return nil, errOffer
	}
	b = b[offerPreamble:]
	var ok bool
	if o.credentials.ufrag, b, ok = cutString(b); !ok ||
		len(o.credentials.ufrag) < minUfrag {
		return nil, errOffer
	}
	if o.credentials.password, b, ok = cutString(b); !ok ||
		len(o.credentials.password) < minPassword {
		return nil, errOffer
	}
	if o.host, b, ok = cutString(b); !ok || len(b) == 0 {
		return nil, errOffer
	}
	n := int(b[0])
	if b = b[1:]; n > maxCandidates {
		return nil, errOffer
	}
	for range n {
		if len(b) == 0 {
			return nil, errOffer
		}
		c := candidate{kind: candidateKind(b[0])}
		var err error
		if c.addr, b, err = cutAddrPort(b[1:]); err != nil {
			return nil, errOffer
		}
		o.candidates = append(o.candidates, c)
	}
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return nil, errOffer
		}
		b = b[2+int(b[1]):]
	}
	return o, nil
}

// cutString reads a string with its length before it, and returns what follows.
func cutString(b []byte) (string, []byte, bool) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
