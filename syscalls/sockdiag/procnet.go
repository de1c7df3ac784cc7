package sockdiag

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Lists are the files of /proc/net that list sockets of TCP and UDP, by name, with the
// protocol and the family of each (proc_pid_net(5)).
var Lists = map[string]Socket{
	"tcp":  {Protocol: unix.IPPROTO_TCP, Family: unix.AF_INET},
	"tcp6": {Protocol: unix.IPPROTO_TCP, Family: unix.AF_INET6},
	"udp":  {Protocol: unix.IPPROTO_UDP, Family: unix.AF_INET},
	"udp6": {Protocol: unix.IPPROTO_UDP, Family: unix.AF_INET6},
}

// List returns the contents of such a file as programs know them. Lines that it cannot
// read are left out. kind is the file's entry in [Lists].
func List(content string, kind Socket, view View) string {
	head, lines, _ := strings.Cut(content, "\n")
	var b strings.Builder
	b.WriteString(head + "\n")
	n := 0
	for line := range strings.Lines(lines) {
		if line, ok := listLine(line, n, kind, view); ok {
			b.WriteString(line)
			n++
		}
	}
	return b.String()
}

// listLine returns a line with translated addresses, and another number.
func listLine(line string, n int, s Socket, view View) (string, bool) {
	number, rest, ok := strings.Cut(line, ": ")
	if !ok {
		return "", false
	}
	fields := strings.Fields(rest)
	const local, remote, state, inode = 0, 1, 2, 8
	if len(fields) <= inode {
		return "", false
	}
	var err error
	if s.Local, err = parseHex(fields[local], s.Family); err != nil {
		return "", false
	}
	if s.Remote, err = parseHex(fields[remote], s.Family); err != nil {
		return "", false
	}
	s.Listens = s.Protocol == unix.IPPROTO_TCP && fields[state] == "0A"
	if of, err := strconv.ParseUint(fields[inode], 10, 32); err == nil {
		s.Inode = uint32(of)
	}
	shown, ok := view(s)
	if !ok {
		return "", false
	}
	if s.Protocol == unix.IPPROTO_TCP { // that of UDP is of the kernel's hash table
		number = fmt.Sprintf("%*d", len(number), n)
	}
	after := rest[len(fields[local])+1+len(fields[remote]):]
	return fmt.Sprintf("%s: %s %s%s", number, hexOf(shown.Local, s.Local, s.Family),
		hexOf(shown.Remote, s.Remote, s.Family), after), true
}

// parseHex reads an address and port. The kernel writes the words of an address as they
// lie in memory (get_tcp4_sock of net/ipv4/tcp_ipv4.c).
func parseHex(field string, family uint8) (netip.AddrPort, error) {
	addr, port, ok := strings.Cut(field, ":")
	b, err := hex.DecodeString(addr)
	number, err2 := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || err2 != nil || len(b) != sizeOf(family) {
		return netip.AddrPort{}, fmt.Errorf("%q is not an address of /proc/net", field)
	}
	swapWords(b)
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(number)), nil
}

// hexOf writes an address, or instead of one that has no form in the family another one.
func hexOf(a, instead netip.AddrPort, family uint8) string {
	if !a.IsValid() || family == unix.AF_INET && !a.Addr().Is4() {
		a = instead
	}
	b := a.Addr().AsSlice()
	if family == unix.AF_INET6 {
		v6 := a.Addr().As16()
		b = v6[:]
	}
	swapWords(b)
	return fmt.Sprintf("%X:%04X", b, a.Port())
}

func sizeOf(family uint8) int {
	if family == unix.AF_INET6 {
		return 16
	}
	return 4
}

// swapWords changes the words of an address from the order of the network to that of
// this machine, and back.
func swapWords(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		binary.BigEndian.PutUint32(b, binary.NativeEndian.Uint32(b))
	}
}
