// Package tunnel carries UDP datagrams between a node and its coordinator over TLS on
// TCP, for networks that let no UDP through.
//
// The datagrams are those that both would exchange by UDP: QUIC, STUN and relay frames.
// QUIC stays as it is, from end to end, so that the tunnel protects nothing: its TLS is
// what firewalls expect on port 443. Each datagram follows its length, 2 bytes in network
// order (RFC 4571).
//
//	node's UDP socket ── loopback ── Client ══ TLS ══ Server ── loopback ── coordinator's
//
// At both ends a UDP socket on loopback stands for the other end. The node's socket sends
// what is for the coordinator to the one (transport.Socket.Detour); the coordinator sees
// the node at the address of the other.
package tunnel
