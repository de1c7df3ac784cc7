package launcher

import (
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/boxer-sandbox/boxer/resolver"
	"github.com/boxer-sandbox/boxer/trace"
)

// admits reports whether a packet to the resolver came from a program of the node, and
// from which thread. The thread waits for the answer, so its process can still be looked
// up.
func (n *node) admits(network string, source, to netip.AddrPort) (asker int, ok bool) {
	asker, ok = n.calls.Admits(network, source, to)
	n.observes(asker)
	return asker, ok
}

// observes records the process of a thread that asks a name server. It reports whether
// the node is traced.
func (n *node) observes(tid int) bool {
	r := n.recorder.Load()
	if r != nil && tid != 0 {
		r.threadOf(tid)
	}
	return r != nil
}

// question emits the event of a question to the node's resolver.
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
		Query:  strings.TrimSuffix(m.Question[0].Name, "."),
		QType:  dns.TypeToString[m.Question[0].Qtype],
		Server: "the host's nameservers", Asked: q.Server,
	}
	if q.Asker != 0 {
		e.Thread = r.threadOf(q.Asker)
	}
	switch {
	case q.Local:
		e.Server = "boxer"
	case q.Passed:
		e.Server = q.Server.Addr().String()
	}
	switch {
	case q.Err != nil && q.Passed:
		e.Failure = e.Server + ": " + q.Err.Error()
	case q.Err != nil:
		e.Failure = "no nameserver of the host answers: " +
			strings.ReplaceAll(q.Err.Error(), "\n", "; ")
	}
	var a dns.Msg
	if a.Unpack(q.Answer) == nil {
		e.RCode = dns.RcodeToString[a.Rcode]
		for _, rr := range a.Answer {
			e.Answers = append(e.Answers,
				strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
	}
	r.put(e)
}

// threadOf returns the process and name of a thread that asks a name server.
func (r *recorder) threadOf(tid int) trace.Thread {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.threadLocked(tid, time.Now()).Thread
}
