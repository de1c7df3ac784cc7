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

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

const (
	// DefaultTimeout limits how long Join and Observe wait for a coordinator.
	DefaultTimeout = 10 * time.Second

	// Attempts begin at least backoffMin apart. This interval doubles up to backoffMax.
	backoffMin = 50 * time.Millisecond
	backoffMax = 2 * time.Second

	// attemptTimeout limits an attempt until the welcome. quic-go repeats the first
	// packets after 0.2, 0.6, 1.4 and 3 s, so that an attempt finds a coordinator that
	// starts meanwhile within 2 s. The limit is long, because a busy coordinator gets
	// busier if clients abandon attempts that it was about to answer.
	attemptTimeout = 5 * time.Second

	// heartbeatInterval is how often a client sends a heartbeat. A third of the lease
	// replaces it if that is less.
	heartbeatInterval = 2500 * time.Millisecond

	// idleTimeout is QUIC's idle timeout (RFC 9000 section 10.1) on both sides. It
	// detects a peer whose host is gone. The server's lease is shorter, and a coordinator
	// that restarts after a crash resets connections that it does not know. The timeout
	// is long, because a slow coordinator stays slow if all its nodes abandon it and join
	// again.
	idleTimeout = 30 * time.Second

	// listTimeout limits the member list that follows the welcome.
	listTimeout = 30 * time.Second
)

// A dialer opens connections to the coordinator of a join URL.
type dialer struct {
	url       JoinURL
	socket    ClientSocket
	identity  *transport.Identity
	diagnosis *diagnosis
	detour    *detourer // nil: UDP only
}

// A clientConn is one connection to the coordinator, from its welcome on.
type clientConn struct {
	conn     *quic.Conn
	stream   *quic.Stream
	in       *bufio.Reader
	server   netip.AddrPort
	welcome  *welcome
	version  int         // of the message protocol
	joinedAs Presence    // as in the hello
	plan     addressPlan // of the network, from the welcome
	observed []Member    // the members that an observer receives
	seq      uint64      // sequence number of the last update
	memberList
}

// A memberList is what the parts of a list have brought so far.
type memberList struct {
	list   []memberRecord
	access map[uint32]policy.Ports // ports to which members may connect
	policy bool                    // the network has a policy
	// the coordinator is in its grace period: others may come back
	inGrace bool
}

// close closes the connection with codeDone: a deliberate leave.
func (c *clientConn) close() { _ = c.conn.CloseWithError(codeDone, "") }

// dialUntil makes attempts until one succeeds, until failed returns true for the error of
// one, or until ctx ends. Each attempt may take grow times as long as the one before.
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
		// Half of the pause is random, so that the nodes of a network do not all retry at
		// the same time.
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

// dial makes one attempt, with the newest protocol version that the coordinator supports.
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
	watching.Go(func() { d.detour.watch(ctx, server) })
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
		// A coordinator that does not support the version, or a field of its hello,
		// closes the connection with codeProtocol. Its answer to the newest version is
		// the most informative.
		if r, ok := errors.AsType[*refusal](err); !ok || r.code != codeProtocol {
			return nil, err
		}
		if version == oldestVersion {
			return nil, first
		}
	}
}

// connect opens the connection: handshake, hello, welcome, member list.
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
	// The end of ctx also ends what follows.
	stop := context.AfterFunc(ctx, l.close)
	defer stop()
	if err := l.join(h, welcomed); err != nil {
		l.close()
		return dialError(ctx, err)
	}
	if !stop() { // ctx has just ended, and closed the connection
		l.close()
		return context.Cause(ctx)
	}
	return nil
}

// tls returns a configuration for the coordinator of the join URL.
func (d *dialer) tls(pinned *error) *tls.Config {
	config := pinnedTLS(d.url.Pin, d.identity, pinned)
	config.NextProtos = []string{protocolName}
	return config
}

// pinnedTLS returns a configuration that proves the node's key and compares the
// coordinator's key with the pin. A coordinator with another key never receives the
// token. pinned, if not nil, gets the result of the comparison.
func pinnedTLS(pin Pin, id *transport.Identity, pinned *error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{id.Certificate()},
		MinVersion:   tls.VersionTLS13,
		ServerName:   "boxer-coordinator",
		// VerifyConnection checks the key itself; there is no certificate authority
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			key, err := transport.PeerKey(state)
			if err != nil {
				err = fmt.Errorf("%w: the peer has no Ed25519 key", ErrPin)
			} else if got := PinOf(key); got != pin {
				err = fmt.Errorf("%w: the coordinator at this address has the pin %v, the join URL has %v; use the current join URL of that coordinator", ErrPin, got, pin)
			}
			if pinned != nil {
				*pinned = err
			}
			return err
		},
	}
}

// join sends the hello, and reads the welcome and the member list.
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
		return fmt.Errorf("%w: the coordinator answered the hello with another message than a welcome", ErrProtocol)
	}
	welcomed()
	c.welcome, c.version = m.Welcome, h.Version
	if h.Presence != nil {
		c.joinedAs = *h.Presence
	}
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

// add appends a part of the member list, and reports whether it was the last part.
func (c *clientConn) add(n *updateBatch) (last bool, err error) {
	if err := c.check(n); err != nil {
		return false, err
	}
	c.list = slices.Grow(c.list, len(n.updates))
	for i := range n.updates {
		u := &n.updates[i]
		if u.kind != kindAccess {
			c.list = append(c.list, u.record)
			continue
		}
		if c.access == nil {
			c.access = make(map[uint32]policy.Ports)
		}
		c.access[u.record.id] = u.access
	}
	c.policy = n.policy
	if n.last {
		c.seq, c.inGrace = n.seq, n.inGrace
	}
	return n.last, nil
}

// check returns an error if an update is about an id without an address.
func (c *clientConn) check(n *updateBatch) error {
	for i := range n.updates {
		if id := n.updates[i].record.id; id > c.plan.max {
			return fmt.Errorf("%w: node %d is outside the network %v", ErrProtocol, id,
				c.plan.prefix)
		}
	}
	return nil
}

// noApplicationProtocol is the error of a QUIC server that is not a coordinator: the TLS
// alert (RFC 7301 section 3.2) as a transport error (RFC 9001 section 4.8).
const noApplicationProtocol = quic.TransportErrorCode(0x100 + 120)

// dialError returns why an attempt failed: the coordinator's refusal, the cause of ctx's
// end, or the error of QUIC.
func dialError(ctx context.Context, err error) error {
	if r := refusalOf(err); r != nil {
		return r
	}
	if t, ok := errors.AsType[*quic.TransportError](err); ok &&
		t.ErrorCode == noApplicationProtocol {
		return fmt.Errorf("%w: the server at this address is not a boxer coordinator of this version", ErrProtocol)
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// retryable reports whether an attempt that failed with err may succeed later.
func retryable(err error) bool {
	for _, permanent := range []error{ErrPin, ErrToken, ErrExpired, ErrName, ErrFull,
		ErrProtocol, ErrEvicted, ErrReplaced} {
		if errors.Is(err, permanent) {
			return false
		}
	}
	return true
}

// slowLookup is the time after which the log says that the name servers do not answer.
const slowLookup = time.Second

// resolve returns the coordinator's addresses. It records a failure in the diagnosis.
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

// resolve returns the IPv4 addresses of HOST:PORT. transport.Socket supports no others.
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

// dialWithin makes attempts for at most timeout. It words the error for the user who
// started the program.
func (d *dialer) dialWithin(ctx context.Context, h *hello,
	timeout time.Duration) (*clientConn, error) {
	began := time.Now()
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	soon, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// error of the last attempt, except for the one that the end of ctx interrupted
	var last error
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
