package transport

// Suspend keeps the socket from sending until Resume. What is sent meanwhile is lost, as
// by a link that is down; connections send it again.
func (s *Socket) Suspend() { s.suspended.Store(true) }

// Resume ends Suspend. A [Node] on the socket should then check its paths.
func (s *Socket) Resume() { s.suspended.Store(false) }

// CheckPaths checks the paths in use to all peers, and how the socket looks from outside,
// at once: nothing may be as it was after a time without packets. Where a path works,
// what was lost meanwhile is sent again after a round trip.
func (n *Node) CheckPaths() {
	for _, p := range n.peersSnapshot() {
		p.mu.Lock()
		if q := p.probes.selected; q != nil {
			q.triggeredCheck = true
		}
		p.mu.Unlock()
		p.wake()
	}
	n.askMapping()
}
