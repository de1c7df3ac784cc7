package syscalls

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// connect runs dial, which connects a socket on loopback, with an alias as the
// source if the socket has none. As in the program's own connect, the kernel chooses the
// port when it knows the destination. So one port serves several destinations, and the
// number of connections to each is bounded by the range of ephemeral ports.
func (c *chosenSources) connect(s *progSocket, alias netip.Addr,
	dial func() error) error {
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	if !c.chooses(s, local) {
		return dial()
	}
	only, err := c.onlyV6(s)
	if err != nil {
		return err
	}
	err = s.bindAddress(alias)
	switch {
	case local.Addr.Port() != 0 && errors.Is(err, unix.EINVAL): // the socket is bound
		return dial()
	case err != nil:
		return fmt.Errorf("bind to %v: %w", alias, err)
	}
	if id, err := s.cookie(); err == nil {
		c.add(id, only)
	}
	if err = dial(); !errors.Is(err, unix.EADDRNOTAVAIL) {
		return err
	}
	// The kernel then skips all ports to which a socket of the host was bound, at any
	// address (__inet_hash_connect in net/ipv4/inet_hashtables.c). bind(2) skips only
	// those that are bound at the alias.
	if s.bindTo(netip.AddrPortFrom(alias, 0)) != nil {
		return err
	}
	return dial()
}

// chooses reports whether the program has not chosen the source of a socket's
// connect: the socket is not bound, or only by an earlier connect. local is the socket's
// name. After a failed connect, the name still has the port of that connect, which the
// socket does not own any more. Its address is the alias that the node had chosen, or the
// wildcard if the kernel had made the connect.
func (c *chosenSources) chooses(s *progSocket, local abi.Sockaddr) bool {
	return local.Addr.Addr().Unmap().IsUnspecified() || c.has(s)
}

// has reports whether the node, not the program, has chosen the address of a TCP
// socket.
func (c *chosenSources) has(s *progSocket) bool {
	if s.typ != unix.SOCK_STREAM {
		return false
	}
	id, err := s.cookie()
	if err != nil {
		return false
	}
	_, ok := c.find(id)
	return ok
}

// onlyV6 reports whether the program has set IPV6_V6ONLY on a TCP socket whose source the
// program has not chosen.
func (c *chosenSources) onlyV6(s *progSocket) (bool, error) {
	if s.domain != unix.AF_INET6 {
		return false, nil
	}
	id, err := s.cookie()
	if err != nil {
		return false, err
	}
	if source, ok := c.find(id); ok && source.only {
		return true, nil
	}
	return s.v6only()
}

// chosenSources has the sockets whose source the node has chosen, by cookie. There are
// two generations: when the younger is full, it becomes the older, and a new one begins.
// A socket that was dropped keeps its source after a failed connect.
type chosenSources struct {
	mu           sync.Mutex
	young, older map[uint64]chosenSource
}

// A chosenSource is what the node knows of such a socket.
type chosenSource struct {
	only bool // the program has set IPV6_V6ONLY, which a socket at an alias cannot have
	// The program knows that its connect has failed, or has dissolved it. To the program
	// the socket then has the wildcard's address again, and no port of its own
	// (tcp_disconnect in net/ipv4/tcp.c).
	dissolved bool
}

// maxChosen bounds each generation. An entry costs some 20 bytes.
const maxChosen = 1 << 14

func (c *chosenSources) add(id uint64, only bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxChosen {
		c.young, c.older = make(map[uint64]chosenSource), c.young
	}
	c.young[id] = chosenSource{only: only}
}

func (c *chosenSources) find(id uint64) (source chosenSource, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.findLocked(id)
}

func (c *chosenSources) findLocked(id uint64) (source chosenSource, ok bool) {
	if source, ok = c.young[id]; !ok {
		source, ok = c.older[id]
	}
	return source, ok
}

// dissolve records that the program knows that a socket's connect has failed, or has
// dissolved the association.
func (c *chosenSources) dissolve(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source, ok := c.findLocked(id); ok {
		source.dissolved = true
		c.young[id] = source
		delete(c.older, id)
	}
}

// isDissolved reports whether to the program a TCP socket has the wildcard's address
// again, though to the kernel it has the alias of a connect that has failed.
func (c *chosenSources) isDissolved(s *progSocket) bool {
	id, err := s.cookie()
	if err != nil || s.typ != unix.SOCK_STREAM {
		return false
	}
	source, ok := c.find(id)
	if !ok || !source.dissolved {
		return false
	}
	state, err := s.state()
	return err == nil && state == tcpClose
}

// remove records that the program has bound a socket itself.
func (c *chosenSources) remove(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, id)
	delete(c.older, id)
}

// forget lets the kernel choose the source of a socket if the node had chosen it.
func (c *chosenSources) forget(s *progSocket) error {
	local, _, err := s.localName()
	if err != nil || local.Addr.Addr().Unmap().IsUnspecified() || !c.has(s) {
		return err
	}
	if state, err := s.state(); err != nil || state != tcpClose {
		return err
	}
	return s.bindAddress(anyAddress(s.domain).Addr.Addr())
}

// bindAddress binds a socket to an alias and leaves the port to connect(2)
// (IP_BIND_ADDRESS_NO_PORT, ip(7)).
func (s *progSocket) bindAddress(alias netip.Addr) error {
	if err := s.mappable(); err != nil {
		return err
	}
	own, err := linux.GetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT)
	if err != nil {
		return err
	}
	if own == 0 {
		if err := linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT,
			1); err != nil {
			return err
		}
		defer linux.SetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 0)
	}
	return s.bindTo(netip.AddrPortFrom(alias, 0))
}
