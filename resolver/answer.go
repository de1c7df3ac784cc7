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
	// domain is below what every node name is found too, so that a name can be
	// written that no search list changes.
	domain = "boxer"
	// ttl of names, in seconds: nodes come and go.
	ttl = 2
	// negativeTTL in seconds (RFC 2308 section 5): a name that is missing now is
	// likely one that is about to join.
	negativeTTL = 1
	// udpSize is the largest datagram in bytes that this server announces: it
	// sits on loopback, where nothing is fragmented.
	udpSize = 4096
	// maxRecords bounds the records of an answer. A record takes at least 16 bytes, so
	// that no message of 64 KiB has room for as many.
	maxRecords = maxMessage/16 + 1
)

// Answer returns the answer to query, a DNS message, or nil where silence is the
// right one: for what is too short for a message, and for answers. Over a stream
// (TCP) an answer may have 64 KiB, over datagrams what the query says, and is
// marked as truncated where it has more. Answer ends soon after ctx.
func (s *Server) Answer(ctx context.Context, query []byte, stream bool) []byte {
	return s.answerAt(ctx, query, stream, nil, 0)
}

// answerAt is Answer for what a thread has sent to the socket own, if that is not nil.
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

// answer is Answer; it notes in told who has answered.
func (s *Server) answer(ctx context.Context, query []byte, stream bool,
	question *Question) []byte {
	if len(query) < headerSize || query[2]&flagQR != 0 {
		return nil // answering an answer would make loops
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
	case dns.TypeAXFR, dns.TypeIXFR: // many messages each, and no business of a stub's
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
		// Without a working upstream the network is all there is, and it has no such
		// name: NXDOMAIN lets getaddrinfo(3) say so, where SERVFAIL means "try again".
		return s.packReply(&q, s.negative(&q, dns.RcodeNameError, "."), limit)
	}
	if ctx.Err() == nil {
		s.log.Debug("resolver: no upstream answers", "name", q.Question[0].Name, "err", err)
	}
	return s.packReply(&q, s.reply(&q, dns.RcodeServerFailure), limit)
}

// local returns the answer if the question is the network's to answer, whatever others
// say. If it is not, bareName tells whether it is about a single label, as names of nodes
// are.
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

// searched returns the addresses of the node whose name is left when one of the search
// domains is cut off: libc asks for such names first. They are the outside's to answer,
// and the node's only where the outside has no such name: or else a node called metadata
// would take metadata.google.internal from every program. bareName tells whether a single
// label is left.
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

// forms returns what name may mean as the name of a node: without the network's own
// domain, and as it is.
func nodeNames(name string) []string {
	if node, ok := strings.CutSuffix(name, "."+domain); ok {
		return []string{node, name}
	}
	return []string{name}
}

func isBare(name string) bool { return name != "" && !strings.Contains(name, ".") }

// addresses answers a question about a node that has addrs: those of the type in
// question, or, for other types, that the name exists and has no such data.
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

// reverse answers a question about a reverse name inside the network's prefix.
func (s *Server) reverse(q *dns.Msg, r netip.Prefix) *dns.Msg {
	question := q.Question[0]
	if !r.IsSingleIP() { // fewer labels than an address: exists, and has no data
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

// negative says that there is no such name, or no such data, and by the SOA of zone
// for how long that may be believed (RFC 2308 section 3).
func (s *Server) negative(q *dns.Msg, rcode int, zone string) *dns.Msg {
	m := s.reply(q, rcode)
	m.Ns = []dns.RR{&dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET,
			Ttl: negativeTTL},
		Ns:      domain + ".",
		Mbox:    "nobody." + domain + ".",
		Serial:  1,
		Refresh: 60, Retry: 60, Expire: 60, // for secondaries, of which there are none
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

// pack returns the bytes of m, an answer to q, cut to limit bytes and marked as
// truncated if it has more. An extended error code needs the EDNS record of m.
func (s *Server) packReply(q *dns.Msg, m *dns.Msg, limit int) []byte {
	m.Compress = true
	m.Truncate(limit)
	b, err := m.Pack()
	if err != nil { // a name from Names that DNS cannot say
		s.log.Error("resolver: unusable answer", "name", q.Question[0].Name, "err", err)
		m = s.reply(q, dns.RcodeServerFailure)
		if b, err = m.Pack(); err != nil {
			return nil
		}
	}
	return b
}
