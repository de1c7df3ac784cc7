package resolver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// forwardTimeout bounds a question's way upstream. It is shorter than the 5 s that
	// libc's resolvers wait (resolv.conf(5), timeout), so that they hear of the failure
	// from us instead of asking again.
	forwardTimeout = 2 * time.Second
	// rounds is how often each nameserver is asked: a datagram may get lost.
	rounds = 2
)

// errNoServer means that resolv.conf names no nameserver other than ourselves.
var errNoServer = errors.New("no nameserver configured")

// A result is what became of one question to one nameserver.
type result struct {
	server netip.AddrPort
	answer []byte
	err    error
}

// forward asks the nameservers at addrs and returns an answer with the ID of query,
// otherwise unchanged. It asks them one after the other, without giving up those asked
// before, until one answers; one that fails makes room for the next at once. An
// answer that reports a failure of the nameserver counts if there is no better
// one. It fails after forwardTimeout, or as soon as every nameserver has failed.
func (s *Server) forward(ctx context.Context, addrs []netip.Addr, query []byte,
	stream bool) ([]byte, error) {
	queue := s.upstreams(addrs)
	if len(queue) == 0 {
		return nil, errNoServer
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	// holds all, so that no question waits for a reader
	results := make(chan result, len(queue))
	pending := 0
	defer func() {
		cancel()
		for ; pending > 0; pending-- {
			<-results
		}
	}()
	ask := func() {
		if len(queue) == 0 {
			return
		}
		server := queue[0]
		queue = queue[1:]
		pending++
		go func() { // ends with ctx; forward waits for its result
			answer, err := s.exchange(ctx, server, query, stream)
			results <- result{server, answer, err}
		}()
	}

	next := time.NewTicker(forwardTimeout / time.Duration(len(queue)))
	defer next.Stop()
	var failure []byte
	var errs []error
	ask()
	for pending > 0 {
		select {
		case <-next.C:
			ask()
		case r := <-results:
			pending--
			if r.err == nil && !failed(r.answer) {
				return withID(r.answer, msgID(query)), nil
			}
			if r.err != nil {
				errs = append(errs, r.err)
			} else {
				failure = r.answer
			}
			queue = slices.DeleteFunc(queue,
				func(again netip.AddrPort) bool { return again == r.server })
			if pending == 0 {
				ask()
			}
		}
	}
	if failure != nil {
		return withID(failure, msgID(query)), nil
	}
	return nil, errors.Join(errs...)
}

// upstreams returns the nameservers to ask, in order, each as often as rounds says.
// Our own address is left out: a question would come back for ever.
func (s *Server) upstreams(addrs []netip.Addr) []netip.AddrPort {
	var servers []netip.AddrPort
	for _, addr := range addrs {
		server := netip.AddrPortFrom(addr, s.port)
		if !s.isSelf(server) && !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return slices.Repeat(servers, rounds)
}

// failed reports whether an answer is about the nameserver's own trouble, so that
// another one may know more. The C libraries see it the same way.
func failed(answer []byte) bool {
	switch int(responseCode(answer)) {
	case dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
		return true
	}
	return false
}

// noSuchName reports whether an answer says that a name does not exist. One that has
// records, such as an alias whose target is missing (RFC 2308 section 2.1), is of a name
// that does.
func noSuchName(answer []byte) bool {
	return responseCode(answer) == dns.RcodeNameError && answerCount(answer) == 0
}

// An outage remembers that no nameserver has answered the last question, so that what
// need not wait for them does not.
type outage struct {
	mu    sync.Mutex
	until time.Time
}

// outageFor is how long an outage is believed in, if no other question ends it.
const outageFor = 10 * time.Second

// note notes what asking the nameservers has come to.
func (o *outage) record(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.until = time.Time{}
	if err != nil && !errors.Is(err, errNoServer) {
		o.until = time.Now().Add(outageFor)
	}
}

func (o *outage) recent() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Now().Before(o.until)
}

// exchange asks one nameserver, under an ID and from a port of its own choice (RFC 5452).
// A truncated answer is asked for again over TCP if the client can take more.
func (s *Server) exchange(ctx context.Context, server netip.AddrPort, query []byte,
	stream bool) ([]byte, error) {
	query = withID(query, dns.Id())
	answer, err := s.exchangeOver(ctx, "udp", server, query)
	if err == nil && stream && truncated(answer) {
		answer, err = s.exchangeOver(ctx, "tcp", server, query)
	}
	return answer, err
}

// exchangeOver sends query over one network and returns the first answer that fits it.
func (s *Server) exchangeOver(ctx context.Context, network string, server netip.AddrPort,
	query []byte) ([]byte, error) {
	conn, err := s.dial(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("ask nameserver: %w", err)
	}
	defer conn.Close()
	// long past: ends reads and writes
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	read, write := readDatagram, writeDatagram
	if network == "tcp" {
		read, write = readMessage, writeMessage
	}
	if err := write(conn, query); err != nil {
		return nil, fmt.Errorf("ask nameserver: %w", err)
	}
	for {
		answer, err := read(conn)
		if err != nil {
			return nil, fmt.Errorf("ask nameserver: %w", err)
		}
		if answers(answer, query) {
			return answer, nil
		}
	}
}
