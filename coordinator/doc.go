// Package coordinator admits nodes to a network and tells each of them who else
// is there: names, virtual addresses, identities, and small signals between two
// nodes that want to open a path. It is in the data path only as the relay of
// packets that it cannot read.
//
// A Server owns the members; a Client is one member's view of them and stays joined, also
// across restarts of the server. Both speak framed messages, JSON (message.go) but for
// the news of members (news.go), over one bidirectional QUIC stream (RFC 9000, ALPN
// protocolName) whose ends prove their Ed25519 keys by TLS 1.3 (RFC 8446).
//
//	client                                server
//	  |---- QUIC handshake, both keys ----->|
//	  |-- hello: token or ticket, name ---->|  admit: id, address
//	  |<-- welcome, list of members --------|
//	  |<-- news: up, down, settled ---------|  the journal, for all alike
//	  |--- signal -->|  receipt, and signal to the other node
//	  |--- alive, report ------------------>|  the lease runs anew
//
// Lock order: roster.mu, then State.mu, journal.mu or routes.mu, which are never
// held together. On the client's side delivery.mu, then directory.mu; neither is
// held together with Client.mu.
package coordinator
