package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"
)

const (
	// If the coordinator has not answered within diagnosisDelay, the client probes it,
	// and again every diagnosisInterval.
	diagnosisDelay    = 250 * time.Millisecond
	diagnosisInterval = time.Second

	// giveUpAfter is how long a cause in this host, such as a missing route, has to
	// persist before Join gives up. The network of a machine that has just started comes
	// up late.
	giveUpAfter = 3 * time.Second
)

// A diagnosis is why the coordinator does not answer, as far as this host can tell. QUIC
// alone reports a timeout: its socket is not connected, so that the kernel reports no
// ICMP errors on it.
type diagnosis struct {
	log   *slog.Logger
	probe prober

	mu     sync.Mutex
	cause  error // nil: unknown
	since  time.Time
	local  bool // the cause is in this host, so that waiting does not help
	logged map[string]bool
}

// A prober asks whether a server answers at a UDP address; see probeSTUN.
type prober func(ctx context.Context, addr netip.AddrPort) (answered bool, err error)

func newDiagnosis(log *slog.Logger) *diagnosis {
	return &diagnosis{log: log, probe: probeSTUN}
}

// set records a cause, and logs each cause once.
func (d *diagnosis) set(cause error, local bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := cause.Error()
	if d.cause == nil || d.cause.Error() != text {
		d.since = time.Now()
	}
	d.cause, d.local = cause, local
	if d.logged[text] {
		return
	}
	if d.logged == nil {
		d.logged = make(map[string]bool)
	}
	d.logged[text] = true
	d.log.Warn("the coordinator does not answer yet", "err", text)
}

// clear records that the coordinator has answered.
func (d *diagnosis) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cause = nil
}

// current returns the cause, or nil, and whether waiting is hopeless.
func (d *diagnosis) current() (cause error, hopeless bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cause, d.cause != nil && d.local && time.Since(d.since) >= giveUpAfter
}

// probeLoop probes the coordinator until ctx ends. If waiting is hopeless, it ends the
// attempt by cancel.
func (d *diagnosis) probeLoop(ctx context.Context, addr netip.AddrPort,
	cancel func(error)) {
	timer := time.NewTimer(diagnosisDelay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		answered, err := d.probe(ctx, addr)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.setErrno(addr, err)
		case answered:
			d.clear()
		}
		if cause, hopeless := d.current(); hopeless {
			cancel(cause)
			return
		}
		timer.Reset(diagnosisInterval)
	}
}

// setErrno records the kernel's error for packets to the coordinator. It ignores errors
// that tell no cause.
func (d *diagnosis) setErrno(addr netip.AddrPort, err error) {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return
	}
	switch errno {
	case unix.ECONNREFUSED:
		d.set(fmt.Errorf("nobody listens on UDP port %d of %v; is the coordinator running there? (%w)", addr.Port(), addr.Addr(), errno), false)
	case unix.ENETUNREACH, unix.ENETDOWN:
		d.set(fmt.Errorf("this host has no route to %v; check its network (%w)",
			addr.Addr(), errno), true)
	case unix.EHOSTUNREACH:
		d.set(fmt.Errorf("%v is not there, or a router on the path drops the packets (%w)", addr.Addr(), errno), false)
	case unix.EINVAL: // RTN_BLACKHOLE, see rtnetlink(7)
		d.set(fmt.Errorf("this host drops packets to %v, by a blackhole route; see ip route (%w)", addr.Addr(), errno), true)
	case unix.EPERM, unix.EACCES:
		d.set(fmt.Errorf("this host's firewall forbids UDP to %v (%w)", addr, errno), true)
	}
}

// setLookup records why the lookup of the coordinator's name failed.
func (d *diagnosis) setLookup(host string, err error) error {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		err = fmt.Errorf("no host has the name %s; check the join URL (%w)", host, err)
		d.set(err, true)
	} else {
		// The port of this host's socket differs each time, and each cause is logged
		// once.
		why := ownSocket.ReplaceAllString(err.Error(), "")
		err = fmt.Errorf("the name servers do not answer for %s; check this host's /etc/resolv.conf (%s)", host, why)
		d.set(err, false)
	}
	return err
}

// ownSocket matches the local end in errors of package net, ADDR:PORT->ADDR:PORT.
var ownSocket = regexp.MustCompile(`\S+->`)

// probeSTUN sends a STUN request (RFC 8489 section 3) and waits for the answer. It uses a
// connected socket, on which the kernel reports ICMP errors (ip(7), IP_RECVERR).
func probeSTUN(ctx context.Context, addr netip.AddrPort) (answered bool, err error) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	_ = c.SetDeadline(time.Now().Add(diagnosisInterval))
	raw, err := c.SyscallConn()
	if err != nil {
		return false, err
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP,
			unix.IP_RECVERR, 1)
	})
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.Fingerprint)
	if err != nil {
		return false, err
	}
	if _, err := c.Write(m.Raw); err != nil {
		return false, err
	}
	b := make([]byte, 1500)
	if _, err := c.Read(b); err != nil {
		if errors.Is(err, unix.EMSGSIZE) || isTimeout(err) {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
