package natlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
)

// A Host is a machine of the lab: a network namespace with one link, eth0, its own
// hostname and its own /etc/resolv.conf. It shares the process table and the other files
// with the other hosts.
type Host struct {
	lab    *Lab
	ns     *namespace
	up     *gateway // the other end of eth0
	addr   netip.Addr
	router *Router // nil: on the internet
	user   *user   // nil: as the lab's process
}

// Name returns the hostname.
func (h *Host) Name() string { return h.ns.name }

// Addr returns the address of eth0.
func (h *Host) Addr() netip.Addr { return h.addr }

// External returns the host's address as seen from the internet: its own, or its NAT's.
func (h *Host) External() netip.Addr {
	if h.router != nil {
		return h.router.addr
	}
	return h.addr
}

// Router returns the NAT in front of the host, or nil if there is none.
func (h *Host) Router() *Router { return h.router }

// SetResolvConf replaces the text of the host's /etc/resolv.conf. At first it names a
// server that never answers.
func (h *Host) SetResolvConf(text string) error {
	// Write the file in place, because the bind mount refers to its inode.
	if err := os.WriteFile(h.ns.resolvConf, []byte(text), 0o644); err != nil {
		return fmt.Errorf("natlab: resolv.conf of %s: %w", h.Name(), err)
	}
	return nil
}

// Do calls f on a thread in the host's namespaces, in the process's working directory,
// and returns f's result. Sockets that f opens and processes that f starts stay on that
// host. The processes must not ask for a parent death signal, because the thread ends
// with f. Goroutines that f starts do not run on that host.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// ListenPacket opens a packet socket on the host. address is an IP address and port.
func (h *Host) ListenPacket(ctx context.Context, network,
	address string) (conn net.PacketConn, err error) {
	err = h.Do(func() (err error) {
		conn, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the host. address is an IP address and port.
func (h *Host) Listen(ctx context.Context, network, address string) (l net.Listener,
	err error) {
	err = h.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// Dial connects from the host. address is an IP address and port, because Go would look
// names up outside the host's namespaces.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn,
	err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("natlab: dial from %s: %w", h.Name(), err)
	}
	err = h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Block silently drops all packets to and from the host, until Unblock.
func (h *Host) Block(ctx context.Context) error { return h.setBlocked(ctx, true) }

// Unblock ends Block.
func (h *Host) Unblock(ctx context.Context) error { return h.setBlocked(ctx, false) }

func (h *Host) setBlocked(ctx context.Context, on bool) error {
	return h.up.change(ctx, func(r *rules) { set(&r.blocked, h.Name(), on) })
}

// Cut silently drops all packets between h and other, until Mend. For hosts behind
// different NATs these are all packets between the NATs.
func (h *Host) Cut(ctx context.Context, other *Host) error { return h.setCut(ctx, other, true) }

// Mend ends Cut.
func (h *Host) Mend(ctx context.Context,
	other *Host) error {
	return h.setCut(ctx, other, false)
}

func (h *Host) setCut(ctx context.Context, other *Host, on bool) error {
	at, a, b := h.lab.internet, h.External(), other.External()
	if h.up == other.up {
		at, a, b = h.up, h.addr, other.addr
	}
	return at.change(ctx, func(r *rules) {
		set(&r.cut, [2]netip.Addr{a, b}, on)
		set(&r.cut, [2]netip.Addr{b, a}, on)
	})
}

// SetLoss drops a share of the packets, 0 to 1, at random, in each direction of the
// host's link.
func (h *Host) SetLoss(ctx context.Context, share float64) error {
	if share < 0 || share > 1 {
		return fmt.Errorf("natlab: loss of %s: %v is not between 0 and 1", h.Name(), share)
	}
	return h.up.change(ctx, func(r *rules) {
		if r.loss == nil {
			r.loss = make(map[string]float64)
		}
		r.loss[h.Name()] = share
	})
}

// SendSingly makes the host send each TCP segment in a packet of its own. Otherwise the
// links carry packets of up to 64 KiB, which no real network does (TSO, GSO).
func (h *Host) SendSingly(ctx context.Context) error {
	return h.ns.ip(ctx, "link set dev "+uplink+" gso_max_segs 1")
}

// SetRate limits each direction of the host's link to a number of bits per second, by
// tc-tbf(8). 0 removes the limit.
func (h *Host) SetRate(ctx context.Context, bits int64) error {
	for _, end := range []struct {
		ns  *namespace
		dev string
	}{{h.ns, uplink}, {h.up.ns, h.Name()}} {
		args := []string{"qdisc", "replace", "dev", end.dev, "root", "noqueue"}
		if bits > 0 {
			// The bucket holds 10 ms of data, but at least one packet of the largest size
			// that offloading produces.
			burst := max(bits/8/100, 64<<10)
			args = []string{"qdisc", "replace", "dev", end.dev, "root", "tbf",
				"rate", fmt.Sprintf("%dbit", bits), "burst", fmt.Sprint(burst), "latency", "50ms"}
		}
		if err := end.ns.do(func() error { return run(ctx, "", "tc", args...) }); err != nil {
			return fmt.Errorf("natlab: rate of %s: %w", h.Name(), err)
		}
	}
	return nil
}
