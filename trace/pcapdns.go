package trace

import (
	"net/netip"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The server that look-ups are sent to if the trace does not name one.
var (
	askerAddr    = netip.MustParseAddr("127.0.0.1")
	resolverAddr = netip.MustParseAddrPort("127.0.0.53:53")
)

// dnsRetry is how long a C library waits before it asks again: 5 s (resolv.conf(5)).
const dnsRetry = 5 * time.Second

// dns writes a look-up: the query, and the answer if there was one.
func (w *pcapWriter) dns(e *DNS) {
	id := uint16(w.count)
	server := resolverAddr
	if e.Asked.IsValid() {
		server = e.Asked
	} else if a, err := netip.ParseAddrPort(e.Server); err == nil {
		server = a
	} else if a, err := netip.ParseAddr(e.Server); err == nil {
		server = netip.AddrPortFrom(a, 53)
	}
	asker := netip.AddrPortFrom(askerAddr, 49152+id%16384)
	if h := w.head.headers[e.Source]; h != nil && !server.Addr().IsLoopback() {
		for _, a := range h.Addrs {
			if a.Is4() == server.Addr().Unmap().Is4() {
				asker = netip.AddrPortFrom(a, asker.Port())
				break
			}
		}
	}
	comment := words(e.Comm, describeDNS(e))
	query, ok := dnsMessage(e, id, false)
	if !ok {
		return
	}
	ask := &segment{from: asker, to: server, proto: protoUDP, payload: query,
		length: len(query)}
	for at, tries := time.Duration(0), 0; tries == 0 || e.RCode == "" &&
		at < e.Duration && tries < maxMissing; tries++ {
		w.send(e.Source, e.Time+at, true, ask, comment)
		at += dnsRetry
	}
	if answer, ok := dnsMessage(e, id, true); ok && e.RCode != "" {
		w.send(e.Source, e.Time+e.Duration, false,
			&segment{from: server, to: asker, proto: protoUDP, payload: answer,
				length: len(answer)}, comment)
	}
	for _, text := range e.Answers {
		if a, err := netip.ParseAddr(text); err == nil {
			w.name(a, e.Query)
		}
	}
}

// dnsTypes are the record types that are written as such. Others are written as TXT.
var dnsTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "ANY": dnsmessage.TypeALL,
	"CNAME": dnsmessage.TypeCNAME, "HINFO": dnsmessage.TypeHINFO,
	"MX": dnsmessage.TypeMX, "NS": dnsmessage.TypeNS, "PTR": dnsmessage.TypePTR,
	"SOA": dnsmessage.TypeSOA, "SRV": dnsmessage.TypeSRV,
	"TXT": dnsmessage.TypeTXT,
}

var dnsCodes = map[string]dnsmessage.RCode{
	"FORMERR": dnsmessage.RCodeFormatError, "NOTIMP": dnsmessage.RCodeNotImplemented,
	"NXDOMAIN": dnsmessage.RCodeNameError,
	"REFUSED":  dnsmessage.RCodeRefused, "SERVFAIL": dnsmessage.RCodeServerFailure,
}

// dnsMessage returns the query or the answer. It returns false if a DNS message cannot
// hold the name.
func dnsMessage(e *DNS, id uint16, answer bool) ([]byte, bool) {
	name, err := dnsmessage.NewName(dotted(e.Query))
	if err != nil {
		return nil, false
	}
	kind, known := dnsTypes[e.QType]
	if !known {
		kind = dnsmessage.TypeTXT
	}
	m := dnsmessage.Message{
		Header: dnsmessage.Header{ID: id, RecursionDesired: true, Response: answer,
			RecursionAvailable: answer},
		Questions: []dnsmessage.Question{{Name: name, Type: kind, Class: dnsmessage.ClassINET}},
	}
	if answer {
		m.RCode = dnsCodes[e.RCode]
		for _, text := range e.Answers {
			if body := dnsRecord(kind, text); body != nil {
				m.Answers = append(m.Answers,
					dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name,
						Class: dnsmessage.ClassINET}, Body: body})
			}
		}
	}
	b, err := m.Pack()
	return b, err == nil
}

// dnsRecord returns the record for its text form, or nil if the text is not valid for the
// type.
func dnsRecord(kind dnsmessage.Type, text string) dnsmessage.ResourceBody {
	if a, err := netip.ParseAddr(text); err == nil {
		if a = a.Unmap(); a.Is4() {
			return &dnsmessage.AResource{A: a.As4()}
		}
		return &dnsmessage.AAAAResource{AAAA: a.As16()}
	}
	name, err := dnsmessage.NewName(dotted(text))
	switch {
	case err == nil && kind == dnsmessage.TypePTR:
		return &dnsmessage.PTRResource{PTR: name}
	case err == nil && kind == dnsmessage.TypeNS:
		return &dnsmessage.NSResource{NS: name}
	case err == nil && (kind == dnsmessage.TypeA || kind == dnsmessage.TypeAAAA ||
		kind == dnsmessage.TypeCNAME):
		return &dnsmessage.CNAMEResource{CNAME: name}
	case len(text) < 256:
		return &dnsmessage.TXTResource{TXT: []string{text}}
	}
	return nil
}

// dotted returns the name with a dot at the end.
func dotted(name string) string {
	if name == "" || name[len(name)-1] != '.' {
		name += "."
	}
	return name
}
