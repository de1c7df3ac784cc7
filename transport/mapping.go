package transport

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// A mapping is the address of this socket as the coordinator sees it. The node asks the
// coordinator again and again (RFC 8489 section 7).
type mapping struct {
	answer chan struct{} // capacity 1: an answer has arrived
	ask    chan struct{} // capacity 1: a goroutine wants the coordinator to be asked

	mu      sync.Mutex
	id      transactionID // of the last request
	sent    time.Time
	waiting bool
	addr    netip.AddrPort // zero: not known yet
	rtt     time.Duration  // to the coordinator
}

// keepMapping asks the coordinator until the node closes: often until there is an answer,
// then every Timers.Refresh and after askMapping.
func (n *Node) keepMapping() {
	m := &n.mapping
	timer := time.NewTimer(0)
	defer timer.Stop()
	for tries := 0; ; {
		select {
		case <-n.ctx.Done():
			return
		case <-m.answer:
			tries = 0
			timer.Reset(n.timers.Refresh)
			continue
		case <-m.ask:
			tries = 0
		case <-timer.C:
		}
		id := newTransactionID()
		m.mu.Lock()
		m.id, m.sent, m.waiting = id, time.Now(), true
		m.mu.Unlock()
		n.send(newBinding(id), path{to: n.config.Server}, 0)
		tries++
		timer.Reset(min(probeDelay(tries)*time.Duration(max(1, tries-len(probeDelays))),
			n.timers.Refresh))
	}
}

// mappingFresh is how long an answer of the coordinator is valid.
const mappingFresh = time.Second

// askMapping makes keepMapping ask the coordinator now, unless it has just done so.
func (n *Node) askMapping() {
	m := &n.mapping
	m.mu.Lock()
	fresh := m.waiting || time.Since(m.sent) < mappingFresh
	m.mu.Unlock()
	if fresh {
		return
	}
	select {
	case m.ask <- struct{}{}:
	default: // keepMapping was woken already
	}
}

// handleMapping handles an answer of the coordinator. It returns false if the message is
// none to the last request.
func (n *Node) handleMapping(answer *stun.Message, from netip.AddrPort) bool {
	if from != n.config.Server {
		return false
	}
	addr, err := mappedAddress(answer)
	if err != nil {
		return false
	}
	m := &n.mapping
	m.mu.Lock()
	if !m.waiting || m.id != answer.TransactionID {
		m.mu.Unlock()
		return false
	}
	m.waiting = false
	m.rtt = time.Since(m.sent)
	news := m.addr != addr
	m.addr = addr
	m.mu.Unlock()
	select {
	case m.answer <- struct{}{}:
	default:
	}
	if news {
		n.log.Debug("reflexive address", "addr", addr)
		for _, p := range n.peersSnapshot() {
			p.offerAgain()
		}
	}
	return true
}

// reflexive returns this socket's address as the coordinator sees it, if known.
func (n *Node) reflexive() netip.AddrPort {
	n.mapping.mu.Lock()
	defer n.mapping.mu.Unlock()
	return n.mapping.addr
}

// relayDelay returns how long to wait for a direct path before the relay is used. The
// offer, its answer, and a check through NATs that are open from both sides take about
// three round trips between node and coordinator, and a little work. A delay that is too
// short does no harm: the node changes to the direct path when that works.
func (n *Node) relayDelay() time.Duration {
	n.mapping.mu.Lock()
	defer n.mapping.mu.Unlock()
	if n.mapping.rtt == 0 {
		return n.timers.Relay
	}
	return min(25*time.Millisecond+4*n.mapping.rtt, n.timers.Relay)
}

// candidates returns the addresses at which this node may be reached now.
func (n *Node) candidates() []candidate {
	s := n.config.Socket
	list := s.hostCandidates(s.interfaces())
	if own := n.config.Own; own != nil { // first: of too many, the last are cut
		list = append([]candidate{{candidateOwn,
			own.LocalAddr().(*net.UDPAddr).AddrPort()}}, list...)
	}
	addr := n.reflexive()
	if !addr.IsValid() {
		return list
	}
	for _, c := range list {
		if c.addr == addr { // no NAT
			return list
		}
	}
	// Before the host's addresses: of too many, the last are cut.
	return append([]candidate{{candidateReflexive, addr}}, list...)
}
