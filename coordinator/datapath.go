package coordinator

import "fmt"

// A DataPath says what may carry the connections between the nodes of a network.
type DataPath string

const (
	// DataPathQUIC: QUIC carries all of them, encrypted from end to end.
	DataPathQUIC DataPath = "quic"
	// DataPathDirect: the kernel's TCP may carry them, in the clear, where both nodes
	// allow it and TCP reaches the one from the other. QUIC carries the others.
	DataPathDirect DataPath = "direct"
)

// ParseDataPath reads what String has written; empty is DataPathQUIC.
func ParseDataPath(s string) (DataPath, error) {
	switch p := DataPath(s); p {
	case "":
		return DataPathQUIC, nil
	case DataPathQUIC, DataPathDirect:
		return p, nil
	}
	return "", fmt.Errorf("%q: unknown data path; use quic or direct", s)
}

// String returns "quic" or "direct".
func (p DataPath) String() string { return string(p) }
