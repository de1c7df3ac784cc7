// Package sockdiag answers questions about sockets (sock_diag(7)) as the kernel of a
// node's host would. The kernel knows the addresses that the node's sockets have on the
// machine. The package translates its answers, and the lists of /proc/net, into addresses
// that programs know. It does not know the node: a [View] translates.
package sockdiag
