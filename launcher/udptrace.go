package launcher

import (
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
)

// maxUDPTraces bounds how many pairs of UDP endpoints a trace tells apart at a time.
const maxUDPTraces = 1 << 12

// datagram counts a datagram between two endpoints. The first one begins their trace.
func (r *recorder) datagram(ends syscalls.Ends, b []byte, received bool) {
	r.mu.Lock()
	f := r.udp[ends]
	full := len(r.udp) >= maxUDPTraces
	r.mu.Unlock()
	if f == nil {
		if full {
			return
		}
		role := trace.RoleConnect
		client := ends
		if received {
			role, client = trace.RoleAccept,
				syscalls.Ends{Local: ends.Remote, Remote: ends.Local}
		}
		f = r.newConnTrace(derivedConnID(client, -2), role, "udp", ends)
		r.mu.Lock()
		if other := r.udp[ends]; other != nil { // another goroutine has begun it meanwhile
			f = other
			r.mu.Unlock()
		} else {
			r.udp[ends] = f
			r.mu.Unlock()
			f.open()
		}
	}
	f.piece(b, received)
}

// refused ends the trace to a far port that is closed.
func (r *recorder) refused(ends syscalls.Ends) {
	r.mu.Lock()
	f := r.udp[ends]
	delete(r.udp, ends)
	r.mu.Unlock()
	if f != nil {
		f.closed(&ending{"ECONNREFUSED", true,
			"refused by " + f.where() + ": the port is closed there"})
	}
}

// closeConns emits the end of the connections and UDP traces that are left when the trace
// ends.
func (r *recorder) closeConns() {
	r.mu.Lock()
	var left []*connTrace
	for f := range r.flows {
		left = append(left, f)
	}
	clear(r.udp)
	r.mu.Unlock()
	for _, f := range left {
		f.closed(&ending{reason: "still there when the program ended"})
	}
}
