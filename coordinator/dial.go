package coordinator

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/transport"
)

const (
	// DefaultTimeout bounds how long Join and Observe wait for a coordinator.
	DefaultTimeout = 10 * time.Second

	// Attempts begin at least backoffMin, doubling up to backoffMax, apart.
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second

	// attemptTimeout bounds an attempt up to the welcome. quic-go sends the first
	// packets again after 0.2, 0.6, 1.4 and 3 s, so a coordinator that starts
	// during an attempt is found within 2 s. It is long on purpose: to give up
	// attempts that a busy coordinator was about to answer makes it busier.
	attemptTimeout = 5 * time.Second

	// aliveEvery is how often a client says that it lives, or a third of the lease
	// if that is less.
	heartbeatInterval = 2500 * time.Millisecond

	// silentFor is QUIC's idle timeout (RFC 9000 section 10.1), on either side. The
	// server's lease is shorter, and a coordinator that is back after a crash
	// resets what it does not know: this is for one whose host is gone. It is
	// long, because nodes that all give up a coordinator that is merely slow, and
	// join again, keep it slow.
	idleTimeout = 30 * time.Second

	// listTimeout bounds the member list that follows the welcome.
	listTimeout = 30 * time.Second
)

// A dialer opens connections to the coordinator of a join URL.
type dialer struct {
	url       JoinURL
	socket    ClientSocket
	identity  *transport.Identity
	diagnosis *diagnosis
}

// A link is one connection to the coordinator, from its welcome on.
type clientConn struct {
	conn     *quic.Conn
	stream   *quic.Stream
	in       *bufio.Reader
	server   netip.AddrPort
	welcome  *welcome
	version  int            // of the messages
	plan     addressPlan    // the network's, of the welcome
	list     []memberRecord // the members that it began with
	observed []Member       // to an observer
	seq      uint64         // number of the last update
	inGrace  bool           // others may be about to come back
}

// close ends the connection as who leaves.
func (c *clientConn) close() { _ = c.conn.CloseWithError(codeDone, "") }

// dialUntil makes attempts until one succeeds or fails for a reason that time
// does not mend, or until ctx ends; failed gets the error of each attempt and
// tells whether to stop.
// Each attempt may take grow times as long as the one before.
func (d *dialer) dialUntil(ctx context.Context, h *hello, grow time.Duration,
	failed func(error) bool) (*clientConn, error) {
	pause, timeout := backoffMin, attemptTimeout
	for try := 0; ; try++ {
		began := time.Now()
		l, err := d.dial(ctx, h, try, timeout)
		timeout = min(grow*timeout, time.Minute)
		if err == nil {
			return l, nil
		}
		if ctx.Err() != nil || failed(err) {
			return nil, err
		}
		// Half of the pause is by chance, so that the nodes of a network do not
		// all come at the same moment.
		wait := time.NewTimer(pause/2 + rand.N(pause/2) - time.Since(began))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil, err
		}
		pause = min(2*pause, backoffMax)
	}
}

// dial makes one attempt, in the newest version that the coordinator speaks.
func (d *dialer) dial(ctx context.Context, h *hello, try int,
	timeout time.Duration) (*clientConn, error) {
	var watching sync.WaitGroup
	defer watching.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(timeout, func() { cancel(fmt.Errorf("no answer in %v", timeout)) })
	defer timer.Stop()

	addrs, err := d.resolve(ctx)
	if err != nil {
		return nil, err
	}
	server := addrs[try%len(addrs)]
	watching.Go(func() { d.diagnosis.probeLoop(ctx, server, cancel) })
	var first error
	for version := protocolVersion; ; version-- {
		l := &clientConn{server: server}
		err := d.connect(ctx, l, h.in(version), timeout,
			func() { timer.Reset(listTimeout) })
		if err == nil {
			return l, nil
		}
		if first == nil {
			first = err
		}
		d.diagnosis.setErrno(server, err)
		// A coordinator that does not speak the version, or not the fields of its
		// hello, says codeProtocol. What it says to the newest version tells most.
		if r, ok := errors.AsType[*refusal](err); !ok || r.code != codeProtocol {
			return nil, err
		}
		if version == oldestVersion {
			return nil, first
		}
	}
}

// connect connects the link: handshake, hello, welcome, member list.
func (d *dialer) connect(ctx context.Context, l *clientConn, h *hello,
	timeout time.Duration,
	welcomed func()) (err error) {
	var pinned error // set on quic-go's goroutine before Dial returns an error
	l.conn, err = d.socket.QUIC().Dial(ctx, net.UDPAddrFromAddrPort(l.server),
		d.tls(&pinned), &quic.Config{
			HandshakeIdleTimeout:  timeout,
			MaxIdleTimeout:        idleTimeout,
			MaxIncomingStreams:    -1,
			MaxIncomingUniStreams: -1,
		})
	if err != nil {
		if errors.Is(err, ErrPin) {
			return pinned
		}
		return dialError(ctx, err)
	}
	// The rest ends with ctx, too.
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	if err := l.join(h, welcomed); err != nil {
		l.close()
		return dialError(ctx, err)
	}
	if !stop() { // ctx ended just now, and the connection with it
		l.close()
		return context.Cause(ctx)
	}
	return nil
}

// tls proves the node's key and checks the coordinator's against the pin. A
// coordinator that does not have it never sees the token.
func (d *dialer) tls(pinned *error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{d.identity.Certificate()},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{protocolName},
		ServerName:   "boxer-coordinator",
		// VerifyConnection checks the key itself, there is no authority to ask
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			key, err := transport.PeerKey(state)
			if err != nil {
				err = fmt.Errorf("%w: the far side shows no Ed25519 key", ErrPin)
			} else if got := PinOf(key); got != d.url.Pin {
				err = fmt.Errorf("%w: the coordinator there has %v, the join URL wants %v; take the join URL of the coordinator that runs there now", ErrPin, got, d.url.Pin)
			}
			*pinned = err
			return err
		},
	}
}

// join says hello and reads what a connection begins with.
func (c *clientConn) join(h *hello, welcomed func()) (err error) {
	if c.stream, err = c.conn.OpenStream(); err != nil {
		return err
	}
	if _, err := c.stream.Write(frame(&message{Hello: h})); err != nil {
		return err
	}
	c.in = bufio.NewReader(c.stream)
	m, err := readMessage(c.in, maxFrame)
	if err != nil {
		return err
	}
	if m.Welcome == nil {
		return fmt.Errorf("%w: the answer to hello is not a welcome", ErrProtocol)
	}
	welcomed()
	c.welcome, c.version = m.Welcome, h.Version
	if c.plan, err = newAddressPlan(c.welcome.Prefix, c.welcome.Prefix6); err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	for {
		m, err := readMessage(c.in, maxFrame)
		switch {
		case err != nil:
			return err
		case h.Observe && m.Page != nil:
			if c.observed = append(c.observed, m.Page.Members...); m.Page.Last {
				return nil
			}
		case !h.Observe && m.Updates != nil && m.Updates.list:
			if last, err := c.add(m.Updates); last || err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: a part of the member list is missing", ErrProtocol)
		}
	}
}

// add takes over a part of the member list, and tells whether it was the last.
func (c *clientConn) add(n *updateBatch) (last bool, err error) {
	if err := c.check(n); err != nil {
		return false, err
	}
	c.list = slices.Grow(c.list, len(n.updates))
	for i := range n.updates {
		c.list = append(c.list, n.updates[i].record)
	}
	if n.last {
		c.seq, c.inGrace = n.seq, n.inGrace
	}
	return n.last, nil
}

// check refuses news of nodes that have no address.
func (c *clientConn) check(n *updateBatch) error {
	for i := range n.updates {
		if id := n.updates[i].record.id; id > c.plan.max {
			return fmt.Errorf("%w: node %d is outside the network %v", ErrProtocol, id,
				c.plan.prefix)
		}
	}
	return nil
}

// noApplicationProtocol is how a QUIC server that is no coordinator answers: the
// TLS alert (RFC 7301 section 3.2) as a transport error (RFC 9001 section 4.8).
const noApplicationProtocol = quic.TransportErrorCode(0x100 + 120)

// dialError says what an attempt failed from: what the coordinator said, why
// ctx ended, or what QUIC says.
func dialError(ctx context.Context, err error) error {
	if r := refusalOf(err); r != nil {
		return r
	}
	if t, ok := errors.AsType[*quic.TransportError](err); ok &&
		t.ErrorCode == noApplicationProtocol {
		return fmt.Errorf("%w: what answers there is not a boxer coordinator of this version", ErrProtocol)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// mends tells whether an attempt that failed with err may succeed later.
func retryable(err error) bool {
	for _, permanent := range []error{ErrPin, ErrToken, ErrExpired, ErrName, ErrFull,
		ErrProtocol, ErrEvicted, ErrReplaced} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	return true
}

// slowLookup is after what time the log says that name servers do not answer.
const slowLookup = time.Second

// resolve returns the coordinator's addresses, and notes why there are none.
func (d *dialer) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host := d.url.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	slow := time.AfterFunc(slowLookup, func() {
		d.diagnosis.set(fmt.Errorf("the name servers do not answer for %s; check this host's /etc/resolv.conf", host), false)
	})
	defer slow.Stop()
	addrs, err := resolve(ctx, d.url.Host)
	switch _, dns := errors.AsType[*net.DNSError](err); {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case dns:
		return nil, d.diagnosis.setLookup(host, err)
	}
	return addrs, err
}

// resolve returns the IPv4 addresses of HOST:PORT: transport.Socket has no others.
func resolve(ctx context.Context, hostport string) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("%w: address: %w", ErrJoinURL, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%w: port: %w", ErrJoinURL, err)
	}
	ips := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		ips = append(ips, ip)
	} else if ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip4", host); err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		if ip = ip.Unmap(); ip.Is4() {
			addrs = append(addrs, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%s has no IPv4 address", host)
	}
	slices.SortFunc(addrs, netip.AddrPort.Compare)
	return addrs, nil
}

// await makes attempts for at most timeout, and words the error for who started
// the program.
func (d *dialer) dialWithin(ctx context.Context, h *hello,
	timeout time.Duration) (*clientConn, error) {
	began := time.Now()
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	soon, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error // what the last attempt but the one that ctx ended failed from
	l, err := d.dialUntil(soon, h, 2, func(err error) bool {
		last = err
		_, hopeless := d.diagnosis.current()
		return hopeless || !retryable(err)
	})
	cause, _ := d.diagnosis.current()
	switch {
	case err == nil:
		return l, nil
	case !retryable(err):
		return nil, err
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, context.Cause(ctx)
	case cause != nil:
		return nil, fmt.Errorf("%w in %v: %w", ErrUnreachable,
			time.Since(began).Round(100*time.Millisecond), cause)
	case last == nil:
		last = err
	}
	return nil, fmt.Errorf("%w: nobody answered in %v; is it running there, and does UDP get through? (%w)",
		ErrUnreachable, time.Since(began).Round(100*time.Millisecond), last)
}
