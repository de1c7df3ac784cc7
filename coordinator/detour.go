package coordinator

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
	"github.com/boxer-sandbox/boxer/transport/tunnel"
)

// Where no UDP gets through, a node reaches its coordinator by TLS on TCP. It tries that
// when UDP has not answered for detourDelay, on port 443 and on the TCP port with the
// number of the join URL. The QUIC connection does not notice: the packets that it
// repeats take the detour. When UDP works again, packets leave by UDP.
const (
	detourDelay = 400 * time.Millisecond
	// detourTimeout limits the handshakes of a tunnel.
	detourTimeout = 5 * time.Second
	// tlsPort is where coordinators listen for TLS behind firewalls.
	tlsPort = 443
	// While a detour is in use, the client probes UDP at this interval.
	detourProbe = 3 * time.Second
	// detourLinger is how long packets may still arrive by a detour that is left.
	detourLinger = 5 * time.Second
)

// A detourer makes detours for one client. The nil detourer makes none.
type detourer struct {
	host   string // of the join URL
	port   uint16
	socket ClientSocket
	tls    *tls.Config
	log    *slog.Logger
	probe  prober

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu     sync.Mutex
	active *activeDetour // nil: packets leave by UDP
}

// An activeDetour is a detour to one address of the coordinator.
type activeDetour struct {
	server netip.AddrPort
	tunnel *tunnel.Client
	port   uint16 // TCP
}

func newDetourer(url JoinURL, socket ClientSocket, id *transport.Identity,
	log *slog.Logger,
	probe prober) *detourer {
	host, portText, _ := net.SplitHostPort(url.Host)
	port, _ := strconv.ParseUint(portText, 10, 16)
	d := &detourer{host: host, port: uint16(port), socket: socket, log: log, probe: probe}
	var pinned error
	d.tls = pinnedTLS(url.Pin, id, &pinned)
	d.ctx, d.cancel = context.WithCancel(context.Background())
	return d
}

// close ends the detour.
func (d *detourer) close() {
	if d == nil {
		return
	}
	d.cancel()
	d.all.Wait()
}

// current says how packets reach the coordinator, if not by UDP.
func (d *detourer) current() string {
	if d == nil {
		return ""
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch a := d.active; {
	case a == nil:
		return ""
	case a.tunnel.Proxy != "":
		return fmt.Sprintf("tls:%d by proxy %s", a.port, a.tunnel.Proxy)
	default:
		return fmt.Sprintf("tls:%d", a.port)
	}
}

// watch makes a detour to a server unless ctx ends within detourDelay.
func (d *detourer) watch(ctx context.Context, server netip.AddrPort) {
	if d == nil || server.Addr().IsLoopback() { // no firewall is between
		return
	}
	timer := time.NewTimer(detourDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	d.mu.Lock()
	there := d.active != nil && d.active.server == server
	d.mu.Unlock()
	if there {
		return
	}
	t, port := d.dial(ctx, server)
	if t == nil {
		return
	}
	if ctx.Err() != nil { // UDP has answered meanwhile
		t.Close()
		return
	}
	d.use(&activeDetour{server, t, port})
}

// dial tries the ports at once, and returns the first tunnel.
func (d *detourer) dial(ctx context.Context, server netip.AddrPort) (*tunnel.Client,
	uint16) {
	ctx, cancel := context.WithTimeout(ctx, detourTimeout)
	defer cancel()
	type result struct {
		tunnel *tunnel.Client
		port   uint16
		err    error
	}
	ports := []uint16{tlsPort}
	if d.port != tlsPort {
		ports = append(ports, d.port)
	}
	results := make(chan result, len(ports))
	for _, port := range ports {
		d.all.Go(func() {
			t, err := tunnel.Dial(ctx, tunnel.Config{Host: d.host, IP: server.Addr(), Port: port,
				TLS: d.tls, Own: d.socket.LocalAddr().Port()})
			results <- result{t, port, err}
		})
	}
	var won result
	for range ports {
		r := <-results
		switch {
		case r.err != nil:
			d.log.Debug("no detour by TLS", "port", r.port, "err", r.err)
		case won.tunnel == nil:
			won = r
			cancel()
		default:
			r.tunnel.Close()
		}
	}
	return won.tunnel, won.port
}

// use leads packets by the detour, until it ends or UDP works again.
func (d *detourer) use(a *activeDetour) {
	d.mu.Lock()
	if d.active != nil || d.ctx.Err() != nil {
		d.mu.Unlock()
		a.tunnel.Close()
		return
	}
	d.active = a
	d.socket.Detour(a.server, a.tunnel.Via, true)
	d.mu.Unlock()
	d.log.Warn("UDP does not reach the coordinator: the node uses TLS, which is slower, and relays everything",
		"coordinator", d.host, "way", d.current())
	d.all.Go(func() { d.follow(a) })
}

// follow ends the detour when its tunnel ends, when UDP works again, or with close.
func (d *detourer) follow(a *activeDetour) {
	probe := time.NewTicker(detourProbe)
	defer probe.Stop()
	for {
		select {
		case <-d.ctx.Done():
			d.leave(a)
			return
		case <-a.tunnel.Done():
			d.log.Debug("the detour by TLS has ended")
			d.leave(a)
			// The node may be as cut off as before: make another one, unless UDP works.
			d.watch(d.ctx, a.server)
			return
		case <-probe.C:
		}
		if ok, err := d.probe(d.ctx, a.server); err != nil || !ok {
			continue
		}
		d.log.Warn("UDP reaches the coordinator again", "coordinator", d.host)
		d.socket.Detour(a.server, a.tunnel.Via, false)
		select {
		case <-time.After(detourLinger):
		case <-d.ctx.Done():
		}
		d.leave(a)
		return
	}
}

// leave ends a detour.
func (d *detourer) leave(a *activeDetour) {
	d.mu.Lock()
	if d.active == a {
		d.active = nil
		d.socket.Detour(netip.AddrPort{}, netip.AddrPort{}, false)
	}
	d.mu.Unlock()
	a.tunnel.Close()
}
