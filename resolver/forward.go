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
	// forwardTimeout limits the forwarding of a question. It is shorter than the 5 s that
	// libc's resolvers wait (resolv.conf(5), timeout), so that they receive an error
	// instead of asking again.
	forwardTimeout = 2 * time.Second
	// rounds is how often each nameserver is asked, since datagrams may get lost.
	rounds = 2
)

// errNoServer says that resolv.conf has no nameserver other than this server.
var errNoServer = errors.New("no nameserver configured")

// A result is the outcome of one question to one nameserver.
type result struct {
	server netip.AddrPort
	answer []byte
	err    error
}

// forward asks the nameservers at addrs. It returns an answer with the ID of query,
// otherwise unchanged. It asks one nameserver after the other until one answers, and
// keeps waiting for the earlier ones. When one fails, it asks the next one at once. An
// answer that reports a failure counts only if there is no better one. forward fails
// after forwardTimeout, or when every nameserver has failed.
func (s *Server) forward(ctx context.Context, addrs []netip.Addr, query []byte,
	stream bool) ([]byte, error) {
	queue := s.upstreams(addrs)
	if len(queue) == 0 {
		return nil, errNoServer
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	// has room for all results, so that no goroutine waits to send one
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

// upstreams returns the nameservers to ask, in order and rounds times each. It omits this
// server's own address, since a question to it would return for ever.
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

// failed reports whether an answer reports a failure of the nameserver, so that another
// one may have a better answer. libc's resolvers decide in the same way.
func failed(answer []byte) bool {
	switch int(responseCode(answer)) {
	case dns.RcodeServerFailure, dns.RcodeNotImplemented, dns.RcodeRefused:
		return true
	}
	return false
}

// noSuchName reports whether an answer says that the name does not exist. A name exists
// if the answer has records, such as an alias whose target is missing (RFC 2308 section
// 2.1).
func noSuchName(answer []byte) bool {
	return responseCode(answer) == dns.RcodeNameError && answerCount(answer) == 0
}

// An outage remembers that no nameserver has answered the last question. Questions that
// need not wait for the nameservers then do not.
type outage struct {
	mu    sync.Mutex
	until time.Time
}

// outageFor is how long an outage lasts unless an answer ends it.
const outageFor = 10 * time.Second

// record takes the outcome of asking the nameservers.
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

// exchange asks one nameserver, with its own ID and from its own port (RFC 5452). If the
// answer is truncated and the client uses a stream, it asks again over TCP.
func (s *Server) exchange(ctx context.Context, server netip.AddrPort, query []byte,
	stream bool) ([]byte, error) {
	query = withID(query, dns.Id())
	answer, err := s.exchangeOver(ctx, "udp", server, query)
	if err == nil && stream && truncated(answer) {
		answer, err = s.exchangeOver(ctx, "tcp", server, query)
	}
	return answer, err
}

// exchangeOver sends query over one network and returns the first answer that matches it.
func (s *Server) exchangeOver(ctx context.Context, network string, server netip.AddrPort,
	query []byte) ([]byte, error) {
	conn, err := s.dial(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("ask nameserver: %w", err)
	}
	defer conn.Close()
	// a deadline in the past ends reads and writes
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
