package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// domain is a domain that contains every node name. A name below it does not depend
	// on a search list.
	domain = "boxer"
	// ttl of names, in seconds. It is short, since nodes come and go.
	ttl = 2
	// negativeTTL in seconds (RFC 2308 section 5). It is short, since a node with a
	// missing name is likely to join soon.
	negativeTTL = 1
	// udpSize is the largest datagram that this server accepts, in bytes. The server is
	// on loopback, which does not fragment.
	udpSize = 4096
	// maxRecords limits the records of an answer. A record takes at least 16 bytes, so
	// that a message of 64 KiB cannot hold more.
	maxRecords = maxMessage/16 + 1
)

// Answer returns the answer to query, a DNS message. It returns nil for messages that get
// no answer: those that are too short, and answers. Over a stream (TCP) an answer may
// have 64 KiB. Over datagrams the query limits its size, and a longer answer is marked as
// truncated. Answer returns soon after ctx ends.
func (s *Server) Answer(ctx context.Context, query []byte, stream bool) []byte {
	return s.answerAt(ctx, query, stream, nil, 0)
}

// answerAt is Answer for a query that the thread asker has sent to the socket own, which
// may be nil.
func (s *Server) answerAt(ctx context.Context, query []byte, stream bool, own net.Addr,
	asker int) []byte {
	if s.observe == nil {
		return s.answer(ctx, query, stream, &Question{})
	}
	q := Question{Began: time.Now(), Query: query, Asker: asker}
	if own != nil {
		q.Server = s.serverFor(own)
	}
	q.Answer = s.answer(ctx, query, stream, &q)
	q.Took = time.Since(q.Began)
	s.observe(q)
	return q.Answer
}

// answer is Answer. It sets in question whose answer it is.
func (s *Server) answer(ctx context.Context, query []byte, stream bool,
	question *Question) []byte {
	if len(query) < headerSize || query[2]&flagQR != 0 {
		return nil // two servers that answer answers would do so for ever
	}
	var q dns.Msg
	if err := q.Unpack(query); err != nil || len(q.Question) > 1 {
		return headerOnly(query, dns.RcodeFormatError)
	}
	if q.Opcode != dns.OpcodeQuery {
		return headerOnly(query, dns.RcodeNotImplemented)
	}
	if len(q.Question) == 0 {
		return headerOnly(query, dns.RcodeFormatError)
	}
	limit := maxMessage
	if !stream {
		limit = dns.MinMsgSize
	}
	if opt := q.IsEdns0(); opt != nil {
		if !stream {
			limit = max(dns.MinMsgSize, int(opt.UDPSize()))
		}
		if opt.Version() != 0 {
			return s.packReply(&q, s.reply(&q, dns.RcodeBadVers), limit)
		}
	}
	switch q.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR: // many messages each, and not for a stub resolver
		return s.packReply(&q, s.reply(&q, dns.RcodeRefused), limit)
	}

	conf := readResolvConf(s.resolvConf)
	answer, bareName := s.networkAnswer(&q)
	if answer != nil {
		question.Local = true
		return s.packReply(&q, answer, limit)
	}
	node, cutName := s.searchDomain(&q, conf.search)
	bareName = bareName || cutName
	if len(node) > 0 && s.outage.recent() {
		return s.packReply(&q, s.negative(&q, dns.RcodeNameError, "."), limit)
	}
	raw, err := s.forward(ctx, conf.servers, query, stream)
	s.outage.record(err)
	question.Err = err
	switch {
	case len(node) > 0 && (errors.Is(err, errNoServer) || err == nil && noSuchName(raw)):
		question.Local, question.Err = true, nil
		return s.packReply(&q, s.addresses(&q, node), limit)
	case err == nil && !(bareName && failed(raw)):
		return raw
	case bareName:
		// Without a working nameserver the network is all there is, and it does not have
		// the name. For NXDOMAIN getaddrinfo(3) reports that; for SERVFAIL it reports a
		// temporary failure.
		return s.packReply(&q, s.negative(&q, dns.RcodeNameError, "."), limit)
	}
	if ctx.Err() == nil {
		s.log.Debug("resolver: no nameserver answers", "name", q.Question[0].Name, "err", err)
	}
	return s.packReply(&q, s.reply(&q, dns.RcodeServerFailure), limit)
}

// networkAnswer returns the answer if only the network may answer the question, and nil
// otherwise. bareName then reports whether the name is a single label, as node names are.
func (s *Server) networkAnswer(q *dns.Msg) (answer *dns.Msg, bareName bool) {
	question := q.Question[0]
	if question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY {
		return nil, false
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	if r, ok := parseReverse(name); ok && s.inNetwork(r) {
		return s.reverse(q, r), false
	}
	for _, form := range nodeNames(name) {
		if addrs := s.names.LookupName(form); len(addrs) > 0 {
			return s.addresses(q, addrs), false
		}
		if s.names.HadName(form) || form == domain ||
			strings.HasSuffix(form, "."+domain) {
			return s.negative(q, dns.RcodeNameError, question.Name), false
		}
	}
	return nil, isBare(name)
}

// searchDomain returns the addresses of the node whose name is the question's without one
// of the search domains: libc asks for such names first. The host's nameservers answer
// these questions, and the node's addresses count only if they have no such name.
// Otherwise a node called metadata would hide metadata.google.internal from every
// program. bareName reports whether the name without the search domain is a single label.
func (s *Server) searchDomain(q *dns.Msg, search []string) (addrs []netip.Addr,
	bareName bool) {
	question := q.Question[0]
	if question.Qclass != dns.ClassINET && question.Qclass != dns.ClassANY {
		return nil, false
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	for _, suffix := range search {
		rest, ok := strings.CutSuffix(name, "."+suffix)
		if !ok {
			continue
		}
		bareName = bareName || isBare(rest)
		for _, form := range nodeNames(rest) {
			if addrs := s.names.LookupName(form); len(addrs) > 0 {
				return addrs, true
			}
		}
	}
	return nil, bareName
}

// nodeNames returns the node names that name may stand for: without the network's domain,
// and as it is.
func nodeNames(name string) []string {
	if node, ok := strings.CutSuffix(name, "."+domain); ok {
		return []string{node, name}
	}
	return []string{name}
}

func isBare(name string) bool { return name != "" && !strings.Contains(name, ".") }

// addresses answers a question about a node with these addresses. The answer has the
// addresses of the type in the question. For other types it says that the name exists and
// has no such data.
func (s *Server) addresses(q *dns.Msg, addrs []netip.Addr) *dns.Msg {
	question := q.Question[0]
	m := s.reply(q, dns.RcodeSuccess)
	for _, addr := range addrs[:min(len(addrs), maxRecords)] {
		addr = addr.Unmap()
		hdr := dns.RR_Header{Name: question.Name, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case addr.Is4() && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY):
			hdr.Rrtype = dns.TypeA
			m.Answer = append(m.Answer, &dns.A{Hdr: hdr, A: addr.AsSlice()})
		case addr.Is6() && (question.Qtype == dns.TypeAAAA ||
			question.Qtype == dns.TypeANY):
			hdr.Rrtype = dns.TypeAAAA
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: hdr, AAAA: addr.AsSlice()})
		}
	}
	if len(m.Answer) == 0 {
		return s.negative(q, dns.RcodeSuccess, question.Name)
	}
	return m
}

// reverse answers a question about a reverse name in the network's prefix.
func (s *Server) reverse(q *dns.Msg, r netip.Prefix) *dns.Msg {
	question := q.Question[0]
	if !r.IsSingleIP() { // fewer labels than an address: the name exists, and has no data
		return s.negative(q, dns.RcodeSuccess, question.Name)
	}
	name, ok := s.names.LookupAddr(r.Addr())
	if !ok {
		return s.negative(q, dns.RcodeNameError, question.Name)
	}
	if question.Qtype != dns.TypePTR && question.Qtype != dns.TypeANY {
		return s.negative(q, dns.RcodeSuccess, question.Name)
	}
	m := s.reply(q, dns.RcodeSuccess)
	m.Answer = []dns.RR{&dns.PTR{
		Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET,
			Ttl: ttl},
		Ptr: dns.Fqdn(name),
	}}
	return m
}

// negative answers that the name, or its data, does not exist. The SOA record of zone
// says how long resolvers may cache that (RFC 2308 section 3).
func (s *Server) negative(q *dns.Msg, rcode int, zone string) *dns.Msg {
	m := s.reply(q, rcode)
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET,
			Ttl: negativeTTL},
		Ns:      domain + ".",
		Mbox:    "nobody." + domain + ".",
		Serial:  1,
		Refresh: 60, Retry: 60, Expire: 60, // for secondary servers, which do not exist
		Minttl: negativeTTL,
	}}
	return m
}

// reply returns an answer to q without records.
func (s *Server) reply(q *dns.Msg, rcode int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, rcode)
	m.Authoritative = rcode == dns.RcodeSuccess || rcode == dns.RcodeNameError
	m.RecursionAvailable = true
	m.CheckingDisabled = q.CheckingDisabled
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	return m
}

// packReply encodes m, an answer to q. It cuts the answer to limit bytes, and then marks
// it as truncated. An extended response code needs the EDNS record of m.
func (s *Server) packReply(q *dns.Msg, m *dns.Msg, limit int) []byte {
	m.Compress = true
	m.Truncate(limit)
	b, err := m.Pack()
	if err != nil { // Names has returned a name that DNS cannot express
		s.log.Error("resolver: the answer cannot be encoded", "name", q.Question[0].Name, "err", err)
		m = s.reply(q, dns.RcodeServerFailure)
		if b, err = m.Pack(); err != nil {
			return nil
		}
	}
	return b
}
