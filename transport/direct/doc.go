// Package direct makes connections of the kernel's TCP between two nodes, straight or
// through the NATs of both sides. Nothing of boxer is on the way of their bytes, and
// nothing encrypts them.
//
// # Simultaneous open
//
// Both ends connect: one from a port that the kernel has chosen, the other one from its
// node's [Port]. Each end's SYN opens the NAT before it for the other end's, and the
// kernels establish the connection (RFC 9293 section 3.5). The two nodes agree on the
// ports over the QUIC connection between them, where each has proved who it is. No secret
// is sent over TCP: the four-tuple says which connection it is, and each side tells the
// other over QUIC when its own end is established, before a program gets bytes.
//
// No socket waits for strangers. A [Port] is a listener whose accept queue is full, to
// which the kernel answers nothing: neither SYN-ACK nor RST. So a SYN that comes before
// this side connects does no harm, also where no NAT drops it.
//
// # Trials
//
// Whether the way between two nodes carries TCP is not known in advance: a NAT may give
// TCP other ports, answer SYN with RST, or lose large packets without telling. The side
// that wants to connect therefore tries first ([Dial]), with a socket of its own, and
// sends 64 KiB each way. Programs use QUIC meanwhile, and where the trial fails
// ([Peers]).
package direct
