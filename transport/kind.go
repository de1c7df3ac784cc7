package transport

// Kind is the kind of the path that packets take to a peer. Lower is better.
type Kind uint8

// The kinds, best first.
const (
	KindNone  Kind = iota // no path
	KindLocal             // the same host: loopback or one of its own addresses
	// KindLAN: an address of the peer's interface that is private or on a common link.
	KindLAN
	// KindPunched: across the Internet, through the NATs of both sides if there are any.
	KindPunched
	KindRelayed // through the coordinator
)

var kindNames = [...]string{"none", "local", "lan", "punched", "relayed"}

// String returns "local", "lan", "punched", "relayed" or "none".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// MarshalText implements encoding.TextMarshaler with String.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }
