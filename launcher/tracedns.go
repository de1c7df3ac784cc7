package launcher

import (
	"strings"

	"github.com/miekg/dns"

	"github.com/boxer-sandbox/boxer/resolver"
	"github.com/boxer-sandbox/boxer/trace"
)

// question tells of a name that the node's resolver was asked for.
func (n *node) question(q resolver.Question) {
	r := n.recorder.Load()
	if r == nil {
		return
	}
	var m dns.Msg
	if m.Unpack(q.Query) != nil || len(m.Question) != 1 {
		return
	}
	e := &trace.DNS{
		Base: trace.Base{Time: q.Began.Sub(r.start)}, Duration: q.Took,
		Query: strings.TrimSuffix(m.Question[0].Name, "."), QType: dns.TypeToString[m.Question[0].Qtype],
		Server: "the host's nameservers", Asked: q.Server,
	}
	if q.Local {
		e.Server = "boxer"
	}
	if q.Err != nil {
		e.Failure = "no nameserver of the host answers: " + strings.ReplaceAll(q.Err.Error(), "\n", "; ")
	}
	var a dns.Msg
	if a.Unpack(q.Answer) == nil {
		e.RCode = dns.RcodeToString[a.Rcode]
		for _, rr := range a.Answer {
			e.Answers = append(e.Answers, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	r.put(e)
}
