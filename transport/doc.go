// Package transport carries byte streams between the nodes of a network: QUIC streams
// (RFC 9000) over UDP paths that lead through NATs, or through a relay where no other
// path exists. It knows nothing of system calls, names and virtual addresses. A
// coordinator, which it does not know either, gives each node its id and passes small
// messages between nodes.
//
// # Layers
//
//	Stream          one TCP connection: header, answer, bytes, FIN or reset   stream.go, header.go
//	Node            all peers: streams in and out, messages, paths            node.go
//	conn            one QUIC connection; two may exist after a glare          conn.go, tls.go
//	peer, prober    where a peer is, and which path packets take to it        peer.go, prober.go, pair.go
//	quic.Transport  one for each socket, listening and dialling
//	Socket          sorts what comes in, routes what goes out                 socket.go, send.go, receive.go
//	wire            the kernel's UDP socket, or a test's network              wire.go
//
// # Paths under a connection
//
// QUIC can move a connection from one path to another, but only the client may do so, one
// path at a time, and QUIC does not know relays. So QUIC is not told about paths. It
// knows each peer by an address that is not real (fakeAddr). The Socket replaces that
// address by the path in use, packet by packet, in both directions. Offloads still work:
// the kernel gets a send of many packets whole, also with a relay header before each
// packet, and a receive is cut after the kernel has coalesced it. Other addresses, such
// as the coordinator's, pass unchanged.
//
// The path of a packet takes no lock and allocates nothing. Routes are in a table that is
// replaced and never changed, and the path of a route is an atomic pointer.
//
// Any path may follow any other under one connection. So QUIC packets for peers are so
// small that each fits the first link with a relay header before it; the Socket refuses
// larger ones, which QUIC sends to find out the packet size. A path can still fail if a
// link farther away is narrower than on the path before: quic-go does not go back to
// smaller packets.
//
// # What is on the wire
//
// The first byte of a datagram says what it is (RFC 9443): 0 to 3 STUN, 0x2b a relay
// frame, 64 and above QUIC. Everything else is dropped.
//
//   - QUIC version 1, ALPN "boxer/2" or "boxer/1", TLS 1.3 with an Ed25519 certificate on
//     both sides. Only the key counts: the dialler accepts the one key that it looked up,
//     the acceptor those that Config.LookupKey knows. There is no 0-RTT and no
//     resumption. A peer that has not shown by STUN where it is has to answer a Retry.
//   - On a connection, one bidirectional stream is one TCP connection: a header
//     (header.go) from the opener, one byte Status from the acceptor, then bytes. FIN is
//     FIN; RST is RESET_STREAM and STOP_SENDING together. The codes are in errors.go.
//   - One unidirectional stream in each direction announces the destinations to which the
//     peer may open streams before they are answered (optimistic.go).
//   - STUN (RFC 8489): plain binding requests to the coordinator; between nodes, requests
//     and answers with MESSAGE-INTEGRITY by the receiver's password, as the connectivity
//     checks of ICE (RFC 8445 section 7). Requests that are not authentic get no answer.
//   - Relay frames (relayframe.go): six bytes before a QUIC packet or a STUN message, to
//     and from the coordinator, which replaces the receiver's id by the sender's. The
//     packet inside is encrypted between the nodes.
//   - Offers (offer.go), through the coordinator: fresh credentials and addresses of a
//     node.
//
// Parsers are strict. They refuse each prefix of what they accept, and unknown versions
// and flags of a header. They skip options of a later version.
//
// # How a path is found and kept
//
// The side that wants a connection sends an offer and asks for one in return. Both sides
// then check all addresses of the other at once, direct ones and the relay, and repeat
// that after 20 ms, 50 ms, 100 ms and so on until there is an answer. A NAT drops the
// first packets; it lets later ones in once its own side has sent packets in the same
// direction. The address from which an authentic check arrives is one more address to
// check, and good enough to answer on, so the connection can begin before the last answer
// arrives. Both sides may dial. If both do so at the same time, both keep the connection
// that the lower id dialled (conn.prefer); the other connection ends when its streams
// have ended.
//
// The prober compares paths by what it knows of them (they answer; the peer is heard on
// them; they have just stopped to answer), then by Kind, then by round trip, with some
// reluctance to change. The relay is used only after a moment (Timers.Relay). Each side
// chooses the path for what it sends.
//
// The prober checks the path in use every Timers.KeepAlive, each second under traffic,
// and at once when packets are sent and none come back. It repeats an unanswered check
// quickly. After a quarter of Timers.Dead without an answer it prefers any path that
// answers, the relay at the latest, and both sides search again with new offers. QUIC's
// own retransmissions have become rare by then, so the Socket sends the last packets that
// were likely lost again on the new path. The prober checks other working paths every
// Timers.Refresh, which also keeps NATs open for them, and better paths that do not work
// every Timers.Retry. Without a connection a node sends nothing.
//
// When an offer shows that the peer has started anew, its old connections end: the peer
// does not know of them.
//
// # Memory
//
// A limit bounds what a peer may send on a stream before the stream is answered, another
// one what it may send on all its streams, and a third one what all peers together may
// send: budget.go.
//
// # Errors
//
// ErrReset is the peer's RST on one stream. ErrLost, which wraps net.ErrClosed, is the
// end of the whole connection. Open fails with ErrNoPeer, ErrNoPath, a *StatusError, or
// the cause of its context. A lost packet, whatever the reason, is never an error.
//
// # Locks
//
// peer.mu before Node.mu before Socket.mu. conn.mu, mapping.mu, pendingTable.mu and
// newcomers.mu are taken last, and no call is made that could wait while they are held.
// No lock is held while packets or signals are sent. The reading goroutine (quic-go's, in
// packetConn.ReadBatch) takes peer.mu for STUN messages only.
//
// # Goroutines
//
// Node.Close waits for every goroutine of the Node: those of peers, connections, streams
// and Accept. Socket.Close ends quic-go's.
package transport
