// Package transport carries byte streams between the nodes of a network: QUIC streams
// (RFC 9000) over UDP paths that lead through NATs, or through a relay where no other
// path exists. It knows nothing of system calls, names and virtual addresses; a
// coordinator, which it does not know either, tells nodes apart and passes their small
// messages on.
//
// # Layers
//
//	Stream          one TCP connection: header, answer, bytes, FIN or reset   stream.go, header.go
//	Node            all peers: streams in and out, messages, paths            node.go
//	conn            one QUIC connection; two may exist after a glare          conn.go, tls.go
//	peer, prober    where a peer is, and which way packets take to it         peer.go, prober.go, pair.go
//	quic.Transport  one for each socket, listening and dialling
//	Socket          the UDP socket: sorts what comes in, routes what goes out socket.go, send.go, receive.go
//
// # Paths under a connection
//
// QUIC can move a connection from one path to another, but only the client may, one path
// at a time, and the relay is no path that it knows. So it is not told: it knows each
// peer by an address that is not real (fakeAddr), and the Socket exchanges that for the
// path of the moment, packet by packet, in both directions. Offloads work as before:
// sends of many packets pass to the kernel whole, also with a relay header before each
// packet, and receives are cut after the kernel has coalesced them. Addresses of anybody
// else, such as the coordinator, pass unchanged.
//
// Nothing on the way of a packet takes a lock or allocates: routes are found in a table
// that is replaced, never changed, and a route's path is an atomic pointer.
//
// Because any path may follow any other under one connection, QUIC packets for peers are
// kept so small that each fits the first link with a relay header before it: larger ones,
// which QUIC sends to find out, are refused. A path whose narrowest link is farther away
// and narrower than that of the path before it can still be a trap: quic-go does not go
// back to smaller packets.
//
// # What is on the wire
//
// The first byte of a datagram says what it is (RFC 9443): 0 to 3 STUN, 0x2b a relay
// frame, 64 and above QUIC. Nothing else is looked at.
//
//   - QUIC version 1, ALPN "boxer/1", TLS 1.3 with an Ed25519 certificate on both sides.
//     Only the key counts: the dialler accepts the one key that it looked up, the other
//     side those that Config.LookupKey knows. There is no 0-RTT and no resumption. A peer
//     that has not shown with STUN where it is has to do so with a Retry.
//   - On a connection, one bidirectional stream is one TCP connection: a header
//     (header.go) from the opener, one byte Status from the acceptor, then bytes. FIN is
//     FIN; RST is RESET_STREAM and STOP_SENDING together. The codes are in errors.go.
//   - One unidirectional stream each way tells to which destinations streams may be
//     opened early, before the acceptor's answer (optimistic.go).
//   - STUN (RFC 8489): plain binding requests to the coordinator; between nodes, requests
//     and answers with MESSAGE-INTEGRITY by the receiver's password, as the connectivity
//     checks of ICE (RFC 8445 section 7). Requests that are not authentic get no answer.
//   - Relay frames (relayframe.go): six bytes before a QUIC packet or a STUN message, to
//     and from the coordinator, which replaces the receiver's id by the sender's. What is
//     inside stays encrypted between the nodes.
//   - Offers (offer.go), by way of the coordinator: fresh credentials and addresses of a
//     node.
//
// Parsers are strict: they refuse each prefix of what they accept, unknown versions and
// unknown flags of a header; options of a later version are skipped.
//
// # How a path is found and kept
//
// The side that wants a connection sends an offer and asks for one in return. Both then
// check all addresses of the other at once, direct ones and the relay: after 20 ms, 50
// ms, 100 ms and so on again, until there is an answer. What a NAT drops at first it lets
// in once this side has sent the same way. The address that an authentic check comes from
// is one more to check, and good enough to answer on: so the connection can begin before
// the last answer is there. Both sides may dial; of two connections that were dialled at
// the same time both keep the one of the lower id (conn.prefer), and the other one ends
// when its streams have.
//
// Paths are chosen by what is known of them (they answer; the peer is heard on them; they
// have just stopped to answer), then by Kind, then by round trip, with some reluctance to
// change. The relay waits a moment for the others (Timers.Relay). Each side chooses for
// what it sends.
//
// The path in use is checked every Timers.KeepAlive, each second under traffic, and at
// once when packets are sent and none come back. An unanswered check is repeated quickly;
// after a quarter of Timers.Dead any path that answers is better, the relay at the
// latest, and both sides search again with new offers. QUIC's own retransmissions have
// become rare by then, so the last packets that were sent in vain are sent again on the
// new path. Other paths that work are checked every Timers.Refresh, which also keeps NATs
// open for them, and better ones that do not work every Timers.Retry. Without a
// connection nothing is sent.
//
// When an offer shows that the peer has started anew, its old connections end: it does
// not know of them.
//
// # Memory
//
// A peer may send little before a stream is answered, a bounded amount on one connection,
// and all peers together a bounded amount: budget.go.
//
// # Errors
//
// ErrReset is the peer's RST on one stream. ErrLost, which wraps net.ErrClosed, is the
// end of the whole connection. Open fails with ErrNoPeer, ErrNoPath, a *StatusError, or
// the cause of its context. A lost packet, whatever the reason, is never an error.
//
// # Locks
//
// peer.mu before Node.mu before Socket.mu; conn.mu, mapping.mu and pendingTable.mu are
// taken last and hold up nothing. No lock is held while packets or signals are sent. The
// reading goroutine (quic-go's, in packetConn.ReadBatch) takes peer.mu for STUN messages
// only.
package transport
