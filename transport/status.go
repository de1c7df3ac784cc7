package transport

import "fmt"

// Status is the far side's answer to a stream's header: one byte on the wire.
type Status uint8

// The answers. Their numbers are on the wire.
const (
	StatusOK      Status = 0 // connected
	StatusRefused Status = 1 // no program listens on the port: ECONNREFUSED
	// StatusUnreachable: the address is not the peer's, or cannot be reached from there:
	// EHOSTUNREACH.
	StatusUnreachable Status = 2
	StatusTimeout     Status = 3 // the listener did not take the connection: ETIMEDOUT
	// StatusBusy: the far side lacks a resource, such as file descriptors.
	StatusBusy      Status = 4
	StatusForbidden Status = 5 // a policy of the far side forbids it: EACCES
)

// String returns the answer in words.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusRefused:
		return "connection refused"
	case StatusUnreachable:
		return "unreachable"
	case StatusTimeout:
		return "timed out"
	case StatusBusy:
		return "out of resources"
	case StatusForbidden:
		return "forbidden"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// StatusError is the error of Open when the far side has answered with another status
// than StatusOK.
type StatusError struct{ Status Status }

// Error returns the status in words.
func (e *StatusError) Error() string { return "peer answered: " + e.Status.String() }
