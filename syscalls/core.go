package syscalls

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// A core has what the protocols of a node share. [Node] has TCP's part of the node, and
// udp has UDP's. Both embed the core. UDP does not know TCP. Node asks UDP about calls on
// sockets of either protocol.
type core struct {
	Config
	tracing  atomic.Pointer[Tracing] // nil: off
	dns      dns
	admitted admitted
	diag     *linux.SockDiag // nil: the kernel has no sock_diag(7)
	// closed is a loopback port that refuses connections and datagrams, see gate
	closed netip.AddrPort
	// ipChosen says that a program has chosen a field of IP headers, see ipfields.go
	ipChosen atomic.Bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // every goroutine of the node
}
