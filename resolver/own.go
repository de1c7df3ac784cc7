package resolver

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Serves reports whether this resolver stands in for the nameserver at addr: a nameserver
// of resolv.conf(5), or this host if the file names none. Other nameservers answer their
// own questions, see Own.
func (s *Server) Serves(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	servers := readResolvConf(s.resolvConf).servers
	for _, server := range servers {
		if server.WithZone("") == addr {
			return true
		}
	}
	return len(servers) == 0 && (addr == netip.IPv6Loopback() ||
		addr == netip.AddrFrom4([4]byte{127, 0, 0, 1}))
}

// Own answers a query that a program has sent to a nameserver of its own choice, if it is
// about the network's names. It returns nil otherwise. It does not wait. It answers only
// queries with recursion desired: iterative resolvers, which do not set it, follow the
// public tree of names, in which a top-level domain may have the name of a node.
func (s *Server) Own(query []byte, stream bool) []byte {
	return s.ownAnswer(Client{}, query, stream)
}

// ownAnswer is Own for a client.
func (s *Server) ownAnswer(c Client, query []byte, stream bool) []byte {
	if len(query) < headerSize || query[2]&(flagQR|maskOpcode) != 0 ||
		query[2]&flagRD == 0 {
		return nil
	}
	began := time.Now()
	var q dns.Msg
	if err := q.Unpack(query); err != nil || len(q.Question) != 1 ||
		len(q.Answer)+len(q.Ns)+len(q.Extra) != records(query) {
		return nil // the query may be cut short
	}
	switch q.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return nil
	}
	limit := maxMessage
	if !stream {
		limit = dns.MinMsgSize
	}
	if opt := q.IsEdns0(); opt != nil {
		if opt.Version() != 0 {
			return nil
		}
		if !stream {
			limit = max(limit, int(opt.UDPSize()))
		}
	}
	m, _ := s.networkAnswer(&q)
	if m == nil {
		return nil
	}
	answer := s.packReply(&q, m, limit)
	if s.observe != nil {
		s.observe(Question{Began: began, Took: time.Since(began), Query: query, Answer: answer,
			Server: c.Server, Asker: c.Asker, Local: true})
	}
	return answer
}
