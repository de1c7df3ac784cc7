package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// A lease below minLease would end while a node is merely slow. One above maxLease would
// keep nodes that are gone for longer than any program waits.
const (
	minLease = time.Second
	maxLease = time.Hour
)

// checkTimes refuses durations that make no sense.
func (f *coordinatorFlags) checkTimes() error {
	switch {
	case f.lease < minLease || f.lease > maxLease:
		return fmt.Errorf("--lease %v: want %v to %v, such as %v", f.lease, minLease,
			maxLease, coordinator.DefaultLease)
	case f.idleExit < 0:
		return fmt.Errorf("--idle-exit %v: it must be 0s or more, such as 10m",
			f.idleExit)
	case f.tokenTTL < 0:
		return fmt.Errorf("--token-ttl %v: it must be 0s or more, such as 1h",
			f.tokenTTL)
	}
	return nil
}

// prefixes are those of the network.
func (f *coordinatorFlags) prefixes() (prefix, prefix6 netip.Prefix, err error) {
	if f.prefix == "" {
		if prefix = coordinator.FreePrefix(); prefix != coordinator.DefaultPrefix &&
			!f.quiet {
			fmt.Fprintf(os.Stderr, "boxer: this network uses %v, because this host "+
				"has an address in %v\n", prefix, coordinator.DefaultPrefix)
		}
	} else if prefix, err = netip.ParsePrefix(f.prefix); err != nil {
		return prefix, prefix6, fmt.Errorf("--prefix %q: not a CIDR such as %v", f.prefix,
			coordinator.DefaultPrefix)
	}
	switch f.prefix6 {
	case "none":
	case "":
		if prefix6 = coordinator.FreePrefix6(); prefix6 != coordinator.DefaultPrefix6 &&
			!f.quiet {
			fmt.Fprintf(os.Stderr, "boxer: this network uses %v, because this host "+
				"has an address in %v\n", prefix6, coordinator.DefaultPrefix6)
		}
	default:
		if prefix6, err = netip.ParsePrefix(f.prefix6); err != nil {
			return prefix, prefix6, fmt.Errorf("--prefix6 %q: not a CIDR such as %v, "+
				"and not none", f.prefix6, coordinator.DefaultPrefix6)
		}
	}
	if err := coordinator.CheckPrefixes(prefix, prefix6); err != nil {
		return prefix, prefix6, err
	}
	if own, ok := coordinator.Clash(prefix, prefix6); ok {
		covers, flag, other := prefix, "--prefix", coordinator.FreePrefix()
		if own.Addr().Is6() {
			covers, flag, other = prefix6, "--prefix6", coordinator.FreePrefix6()
		}
		return prefix, prefix6, fmt.Errorf("prefix %v: it covers this host's own "+
			"network, %v, which programs could "+
			"then not reach; choose another prefix, such as %s "+
			"%v", covers, own, flag, other)
	}
	return prefix, prefix6, nil
}

// joinHost returns the HOST:PORT of the join URL for a coordinator that listens at addr.
// It tells the user which nodes can reach that address.
func (f *coordinatorFlags) joinHost(addr netip.AddrPort) (string, error) {
	port := strconv.Itoa(int(addr.Port()))
	switch {
	case f.host != "" && !strings.Contains(f.host, ":"):
		return net.JoinHostPort(f.host, port), nil
	case f.host != "":
		if _, _, err := net.SplitHostPort(f.host); err != nil {
			return "", fmt.Errorf("--host %q: not HOST or HOST:PORT, such as "+
				"coordinator.example.com:%s", f.host, port)
		}
		return f.host, nil
	case !addr.Addr().IsUnspecified():
		return addr.String(), nil
	}
	own, ok := ownAddress()
	host := net.JoinHostPort(own.String(), port)
	switch {
	case f.quiet:
	case !ok:
		fmt.Fprintln(os.Stderr, "boxer: only nodes on this host can join, because "+
			"this host has only loopback addresses; name another address with --host")
	default:
		fmt.Fprintf(os.Stderr, "boxer: the join URL has the address %s; if nodes "+
			"reach this host at another address, name it with --host\n", host)
	}
	return host, nil
}

// ownAddress returns the IPv4 address at which others see this host: that of the default
// route, or of any interface; loopback and false if there is none. Nothing is sent:
// connect(2) on a UDP socket only chooses the source address.
func ownAddress() (netip.Addr, bool) {
	if c, err := net.Dial("udp4", "192.0.2.1:9"); err == nil { // RFC 5737
		defer c.Close()
		if a := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); a.IsGlobalUnicast() {
			return a, true
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		addrs = nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() &&
			p.Addr().IsGlobalUnicast() {
			return p.Addr(), true
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), false
}
