package syscalls

import "net/netip"

// Owns reports whether an address is one of the node's virtual ones.
func (c *Config) Owns(a netip.Addr) bool {
	return a == c.Addr || a.IsValid() && a == c.Addr6
}

// inNetwork reports whether an address is one of the network's.
func (c *Config) inNetwork(a netip.Addr) bool {
	return c.Prefix.Contains(a) || c.Prefix6.Contains(a)
}

// addrFor returns the node's own address of the same family as a peer's.
func (c *Config) addrFor(peer netip.Addr) netip.Addr {
	if peer.Is4() {
		return c.Addr
	}
	return c.Addr6
}

// publicFor returns the alias of addrFor.
func (c *Config) publicFor(peer netip.Addr) netip.Addr {
	if peer.Is4() {
		return c.Aliases.Public
	}
	return c.Aliases.Public6
}

// own returns the virtual address that an alias of this node represents.
func (c *Config) own(r role) netip.Addr {
	switch {
	case r == wildcard, r == ping:
		return netip.IPv4Unspecified()
	case r == dual, r == wildcard6, r == ping|v6:
		return netip.IPv6Unspecified()
	case r == private:
		return localhost4
	case r == private6:
		return netip.IPv6Loopback()
	case r&v6 != 0:
		return c.Addr6
	}
	return c.Addr
}
