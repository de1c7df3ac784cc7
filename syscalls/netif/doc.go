// Package netif presents a node's network interfaces, addresses and routes in the forms
// that Linux has for them.
//
// A [Host] has two interfaces, lo and boxer0. The machine's own interfaces do not exist
// for the node's programs, because no other node can reach it there. Programs see the two
// as values of ioctl(2) ([Host.Ifreq], [Host.Ifconf]), as text in /proc/net
// ([Host.ProcNet]) and as files in /sys/class/net ([Host.SysClassNet]). Package rtnetlink
// presents the same Host as rtnetlink(7) messages. All of them are functions of the
// Host's addresses.
package netif
