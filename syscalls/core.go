package syscalls

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// A core is what the protocols of a node share. TCP's part of the node is in [Node],
// UDP's is in udp: both have the core, UDP knows nothing of TCP, and Node asks UDP where
// a call may be of a socket of either.
type core struct {
	Config
	tracing  atomic.Pointer[Tracing] // nil: off
	dns      dns
	admitted admitted
	diag     *linux.SockDiag // nil: the kernel does not answer
	// closed is a port of loopback that refuses connections and datagrams, see gate
	closed netip.AddrPort

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the node
}
