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
	// A coordinator that has not answered in lookAfter is looked for with a probe,
	// and again every lookAgain.
	lookAfter = 250 * time.Millisecond
	lookAgain = time.Second

	// hopelessAfter is for how long a cause that lies in this host, such as a route
	// that is missing, has to last until Join gives up: networks of machines that
	// have just started come up late.
	hopelessAfter = 3 * time.Second
)

// A trouble is why the coordinator is not reached, as far as this host can tell. QUIC
// alone only says that nobody answers: the socket is not connected, so that the kernel
// reports no ICMP errors on it.
type trouble struct {
	log *slog.Logger

	mu    sync.Mutex
	cause error // nil: not known
	since time.Time
	local bool // it lies in this host: nobody else mends it
	told  map[string]bool
}

// note takes down a cause, and tells the log about each once.
func (t *trouble) note(cause error, local bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := cause.Error()
	if t.cause == nil || t.cause.Error() != text {
		t.since = time.Now()
	}
	t.cause, t.local = cause, local
	if t.told[text] {
		return
	}
	if t.told == nil {
		t.told = make(map[string]bool)
	}
	t.told[text] = true
	t.log.Warn("the coordinator is not reached yet", "cause", text)
}

// clear says that packets get there.
func (t *trouble) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cause = nil
}

// get returns the cause, nil if there is none, and whether waiting is in vain.
func (t *trouble) get() (cause error, hopeless bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cause, t.cause != nil && t.local && time.Since(t.since) >= hopelessAfter
}

// watch probes the way to the coordinator until ctx ends, and ends the attempt by
// cancel where waiting is in vain.
func (t *trouble) watch(ctx context.Context, addr netip.AddrPort, cancel func(error)) {
	timer := time.NewTimer(lookAfter)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		answered, err := probe(ctx, addr)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.noteErrno(addr, err)
		case answered:
			t.clear()
		}
		if cause, hopeless := t.get(); hopeless {
			cancel(cause)
			return
		}
		timer.Reset(lookAgain)
	}
}

// noteErrno notes what the kernel says about packets to the coordinator. Other errors
// are none that tell a cause.
func (t *trouble) noteErrno(addr netip.AddrPort, err error) {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		return
	}
	switch errno {
	case unix.ECONNREFUSED:
		t.note(fmt.Errorf("nobody listens on UDP port %d of %v; is the coordinator running there? (%w)", addr.Port(), addr.Addr(), errno), false)
	case unix.ENETUNREACH, unix.ENETDOWN:
		t.note(fmt.Errorf("this host has no route to %v; check its network (%w)",
			addr.Addr(), errno), true)
	case unix.EHOSTUNREACH:
		t.note(fmt.Errorf("%v is not there, or a router on the way lets nothing through (%w)", addr.Addr(), errno), false)
	case unix.EINVAL: // RTN_BLACKHOLE, see rtnetlink(7)
		t.note(fmt.Errorf("this host drops packets to %v, by a blackhole route; see ip route (%w)", addr.Addr(), errno), true)
	case unix.EPERM, unix.EACCES:
		t.note(fmt.Errorf("this host's firewall forbids UDP to %v (%w)", addr, errno), true)
	}
}

// noteLookup notes why the coordinator's name has no address.
func (t *trouble) noteLookup(host string, err error) error {
	if d, ok := errors.AsType[*net.DNSError](err); ok && d.IsNotFound {
		err = fmt.Errorf("no host is called %s; check the join URL (%w)", host, err)
		t.note(err, true)
	} else {
		// Without the address of this host's socket, which is another one each time.
		why := ownSocket.ReplaceAllString(err.Error(), "")
		err = fmt.Errorf("the name servers do not answer for %s; check this host's /etc/resolv.conf (%s)", host, why)
		t.note(err, false)
	}
	return err
}

// ownSocket matches the sending end in errors of package net, ADDR:PORT->ADDR:PORT.
var ownSocket = regexp.MustCompile(`\S+->`)

// probe sends a STUN request (RFC 8489 section 3) from a connected socket, on which
// the kernel reports what ICMP says (ip(7), IP_RECVERR), and waits for the answer.
func probe(ctx context.Context, addr netip.AddrPort) (answered bool, err error) {
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return false, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	_ = c.SetDeadline(time.Now().Add(lookAgain))
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
