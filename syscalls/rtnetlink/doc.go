// Package rtnetlink answers rtnetlink(7) requests as a Linux host would that has the
// interfaces, addresses and routes of a node.
//
// [Answer] is a function of a netif.Host and of the bytes that a program sent. It has no
// state and no socket; package syscalls connects it to the program's netlink socket.
package rtnetlink
