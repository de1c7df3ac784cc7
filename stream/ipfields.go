package stream

// DefaultTTL is the TTL, and the hop limit, of packets whose sender has not chosen one
// (ip_default_ttl in ip(7), hop_limit in ipv6(7)).
const DefaultTTL = 64

// IPFields are the fields of IP headers that programs choose and that receivers see: TTL
// and TOS of IPv4 (ip(7)), hop limit and traffic class of IPv6 (ipv6(7)). The zero value
// stands for packets whose sender has chosen neither.
type IPFields struct {
	TTL uint8 // 0: DefaultTTL
	TOS uint8 // with the bits of ECN (RFC 3168)
}

// NewIPFields returns the fields for a TTL or hop limit, and a TOS or traffic class. A
// hop limit of 0, which IPv6 allows, becomes 1.
func NewIPFields(ttl, tos int) IPFields {
	f := IPFields{TTL: uint8(max(ttl, 1)), TOS: uint8(tos)}
	if f.TTL == DefaultTTL {
		f.TTL = 0
	}
	return f
}

// HopLimit returns the TTL or hop limit, from 1 to 255.
func (f IPFields) HopLimit() int {
	if f.TTL == 0 {
		return DefaultTTL
	}
	return int(f.TTL)
}

// NoIPFields is embedded by a Stream whose carrier has no place for IPFields: neither
// side learns those of the other one.
type NoIPFields struct{}

// SetIPFields does nothing.
func (NoIPFields) SetIPFields(IPFields) {}

// OnIPFields returns zero, and never calls f.
func (NoIPFields) OnIPFields(func(IPFields)) IPFields { return IPFields{} }
