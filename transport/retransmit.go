package transport

import "sync"

// A retransmitBuffer has copies of the last packets that were sent while a path seemed
// dead: see prober.planRetransmit. QUIC sends few packets then.
type retransmitBuffer struct {
	mu   sync.Mutex
	ring [4][]byte
	next int
}

// add keeps a copy of the last packet in b, which has packets of segment bytes (0: one
// packet).
func (k *retransmitBuffer) add(b []byte, segment uint16) {
	if n := int(segment); n > 0 && len(b) > n {
		b = b[(len(b)-1)/n*n:]
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring[k.next] = append(k.ring[k.next][:0], b...)
	k.next = (k.next + 1) % len(k.ring)
}

// all returns copies of the packets, the oldest first.
func (k *retransmitBuffer) all() (packets [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i := range k.ring {
		if b := k.ring[(k.next+i)%len(k.ring)]; len(b) > 0 {
			packets = append(packets, append([]byte(nil), b...))
		}
	}
	return packets
}

// clear removes all packets.
func (k *retransmitBuffer) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring = [4][]byte{}
}
