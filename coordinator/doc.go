// Package coordinator admits nodes to a network and tells each node about the others:
// their names, virtual addresses and identities. It forwards small signals between two
// nodes that want to open a path. It also relays packets that it cannot read; other data
// does not pass through it.
//
// A Server keeps the membership. A Client is one node's view of it, and stays joined
// across restarts of the server. Client and server exchange framed messages over one
// bidirectional QUIC stream (RFC 9000, ALPN protocolName). Both ends prove their Ed25519
// keys by TLS 1.3 (RFC 8446). Messages are JSON (message.go), except for updates of the
// membership, which have a compact encoding (updates.go).
//
//	client                                server
//	  |---- QUIC handshake, both keys ----->|
//	  |-- hello: token or ticket, name ---->|  admit: id, address
//	  |<-- welcome, list of members --------|
//	  |<-- updates: up, down, grace over ---|  from one journal, the same for all
//	  |--- signal -->|  ack, and the signal to the other node
//	  |--- heartbeat, report -------------->|  renews the lease
//
// Lock order in the server: membership.mu, then one of State.mu, journal.mu and
// relayTable.mu. Lock order in the client: dispatcher.mu, then directory.mu. No goroutine
// holds Client.mu together with either of them.
package coordinator
