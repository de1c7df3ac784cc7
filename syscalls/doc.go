// Package syscalls answers trapped socket calls the way Linux would.
//
// A [Node] is one supervised process tree with a virtual address. Its programs use real
// sockets of the kernel. Only calls that name addresses or wait for peers come here. Each
// is a [Call], and [Node.Answer] dispatches it by one [Table]. The package accesses the
// program only through [Call], and the network only through [Network].
//
// # Addresses
//
// Each node has its own block of loopback addresses ([Aliases]). The address of the block
// to which a socket is bound says what the program asked for:
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
// IPv6 has only one loopback address. AF_INET6 sockets are therefore bound to IPv4
// aliases, too, as v4-mapped addresses; bit 3 of the alias says which family the program
// uses. A socket with IPV6_V6ONLY accepts no v4-mapped address, so boxer clears the
// option and answers getsockopt(2) from the alias.
//
// The kernel's own names of a socket thus translate back without a table of sockets, and
// nothing gets stale when descriptors are duplicated, passed on or closed. Two small
// tables remain: ports that the host refused and that other ports replace (ports.go), and
// the virtual peers of the running relays (translate.go), which the relays add and
// remove.
//
// # One connect(2)
//
// The program's socket connects to the node's gate, a listener that drops every SYN. It
// stays in SYN_SENT while boxer opens the connection over the network. Then the
// supervisor connects from the gate's address to the program's socket (a simultaneous
// open, RFC 9293 section 3.5). That establishes the socket, with the supervisor's socket
// as its peer. See gate.go.
//
// Each table has its own mutex. No lock is held over a system call that may block.
package syscalls
