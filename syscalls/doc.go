// Package syscalls answers trapped socket calls the way Linux would.
//
// A [Node] is one supervised process tree with a virtual address. Its programs
// keep real kernel TCP sockets; only the calls that name addresses or wait for
// peers come here, as a [Call] each, and [Node.Answer] dispatches them by one
// [Table]. The package sees the child only through [Call] and the network only
// through [Network].
//
// # Addresses
//
// Each node has a block of loopback addresses of its own ([Aliases]), and which
// of them a socket is bound to says what the program asked for:
//
//	program                     kernel            alias
//	0.0.0.0:p                   127.a.b.c:p       Wildcard
//	10.111.0.2:p (its own)      127.a.b.(c+1):p   Public
//	127.0.0.1:p                 127.a.b.(c+2):p   Private
//	-                           127.a.b.(c+3):p   Relay: the supervisor's ends, TCP
//	-                           127.a.b.(c+4):p   Datagram: the supervisor's ends, UDP
//	[::]:p                      127.a.b.(c+5):p   Dual
//	-                           127.a.b.(c+6):id  Ping: ping sockets
//	[::]:p with IPV6_V6ONLY     127.a.b.(c+8):p   Wildcard6
//	[fd6f:...:2]:p (its own)    127.a.b.(c+9):p   Public6
//	[::1]:p                     127.a.b.(c+10):p  Private6
//	-                           127.a.b.(c+11):p  Relay6: as Relay, for IPv6 peers
//	-                           127.a.b.(c+12):p  Datagram6: as Datagram, likewise
//	-                           127.a.b.(c+14):id Ping6: as Ping
//	-                           127.192.x.y:p     the supervisor's ends, TCP: see gateaddrs.go
//	-                           127.224.x.y:p     likewise, for IPv6 peers
//
// IPv6 has only one loopback address, so AF_INET6 sockets are at IPv4 ones, too,
// v4-mapped; bit 3 of the alias says which family the program uses. A socket
// with IPV6_V6ONLY would take no v4-mapped address: boxer clears the option, and
// getsockopt(2) tells it by the alias.
//
// So the kernel's own names of a socket translate back without a table of
// sockets, and nothing goes stale when descriptors are duplicated, passed on
// or closed. Two small tables remain: ports that the host refused and that
// became others (ports.go), and the virtual peers of the relays that run
// (translate.go), each removed by the relay that added it.
//
// # One connect(2)
//
// The program's socket connects to the node's gate, a listener that drops
// every SYN, and so stays in SYN_SENT while the network is asked; then the
// supervisor opens from the gate's address towards it (a simultaneous open,
// RFC 9293 section 3.5), and it is established, with the supervisor's socket
// at its other end. See gate.go.
//
// Lock order: waiting.mu, then Node.mu; no lock is held over a system call
// that may block.
package syscalls
