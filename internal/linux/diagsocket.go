package linux

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Offsets into a message of sock_diag(7): struct nlmsghdr of 16 bytes, then struct
// inet_diag_msg of linux/inet_diag.h. Filters of [WatchDestroyed] use them.
const (
	DiagFamily = 16
	DiagSport  = 16 + 4 // the socket's port, big endian
	DiagDport  = 16 + 6 // its peer's port, big endian; 0 if it is not connected
	DiagSource = 16 + 8 // its address: 16 bytes, of which IPv4 uses 4

	diagState   = 16 + 1
	diagCookie  = 16 + 44 // 8 bytes
	diagRqueue  = 16 + 56 // of a listener: how many connections wait for accept(2)
	diagWqueue  = 16 + 60 // of a listener: its backlog
	diagUID     = 16 + 64
	diagInode   = 16 + 68
	diagMsgSize = 16 + 72

	// INET_DIAG_INFO of linux/inet_diag.h, and fields of struct tcp_info in it
	// (linux/tcp.h).
	diagInfo              = 2
	infoBytesReceived     = 128
	infoBytesSent         = 200
	infoBytesRetrans      = 208
	sizeofInfoWithRetrans = 216

	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY of linux/sock_diag.h

	tcpListen = 10 // TCP_LISTEN of include/net/tcp_states.h
)

// A DiagSocket is the kernel's description of a TCP or UDP socket.
type DiagSocket struct {
	Addr   netip.AddrPort // its own; v4-mapped addresses are IPv4
	Cookie uint64         // SO_COOKIE (socket(7)), which no other socket ever gets
	State  byte           // as in include/net/tcp_states.h
	UID    uint32         // its creator
	Inode  uint32         // as in /proc/PID/fd

	// Of a listener: connections that wait for accept(2), and how many may.
	Waiting, Backlog uint32

	// Bytes that a connection's program has sent and received. The peer's FIN counts as
	// one received, as the kernel counts. Only a message about a socket that was
	// destroyed has them (Linux 4.19).
	Sent, Received uint64
}

// Listens reports whether it is a TCP socket that listens.
func (s DiagSocket) Listens() bool { return s.State == tcpListen }

// parseDiag reads a message of sock_diag(7) about a socket.
func parseDiag(b []byte) (s DiagSocket, ok bool) {
	if len(b) < diagMsgSize || binary.NativeEndian.Uint16(b[4:]) != sockDiagByFamily {
		return DiagSocket{}, false
	}
	port := binary.BigEndian.Uint16(b[DiagSport:])
	switch b[DiagFamily] {
	case unix.AF_INET:
		s.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[DiagSource:])), port)
	case unix.AF_INET6:
		s.Addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[DiagSource:])).Unmap(), port)
	default:
		return DiagSocket{}, false
	}
	s.State = b[diagState]
	s.Cookie = binary.NativeEndian.Uint64(b[diagCookie:])
	s.UID = binary.NativeEndian.Uint32(b[diagUID:])
	s.Inode = binary.NativeEndian.Uint32(b[diagInode:])
	s.Waiting = binary.NativeEndian.Uint32(b[diagRqueue:])
	s.Backlog = binary.NativeEndian.Uint32(b[diagWqueue:])
	if info := findAttribute(b[diagMsgSize:], diagInfo); len(info) >= sizeofInfoWithRetrans {
		s.Received = binary.NativeEndian.Uint64(info[infoBytesReceived:])
		s.Sent = binary.NativeEndian.Uint64(info[infoBytesSent:]) -
			binary.NativeEndian.Uint64(info[infoBytesRetrans:])
	}
	return s, true
}

// findAttribute returns the value of the first attribute of a kind (rtnetlink(7)), or nil
// if there is none.
func findAttribute(b []byte, kind uint16) []byte {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:]) == kind {
			return b[unix.SizeofRtAttr:size]
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

// loopbackIndex is LOOPBACK_IFINDEX of include/net/net_namespace.h. The lookup is one
// for a packet that came in by lo, as all packets to loopback addresses do: it also finds
// sockets that are bound to that device.
const loopbackIndex = 1

// diagRequest returns the question for one IPv4 socket: struct nlmsghdr and struct
// inet_diag_req_v2.
func diagRequest(proto uint8, local, remote netip.AddrPort) (q [requestSize]byte) {
	if proto == unix.IPPROTO_UDP { // udp_dump_one of net/ipv4/udp_diag.c has them swapped
		local, remote = remote, local
	}
	binary.NativeEndian.PutUint32(q[0:], uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST)
	q[16], q[17] = unix.AF_INET, proto
	binary.NativeEndian.PutUint32(q[20:], ^uint32(0)) // every state
	binary.BigEndian.PutUint16(q[24:], local.Port())
	binary.BigEndian.PutUint16(q[26:], remote.Port())
	copy(q[28:], local.Addr().AsSlice())
	copy(q[44:], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(q[60:], loopbackIndex)
	for i := 64; i < len(q); i++ {
		q[i] = 0xff // no cookie
	}
	return q
}
