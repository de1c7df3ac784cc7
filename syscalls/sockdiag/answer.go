package sockdiag

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// A Kernel sends one request to the kernel's NETLINK_SOCK_DIAG, and returns the messages
// of its answer without the last one of a dump (NLMSG_DONE). The error is the errno of
// the answer.
type Kernel func(request []byte) (messages []byte, err error)

// Offsets into struct inet_diag_req_v2 of linux/inet_diag.h, which follows struct
// nlmsghdr. struct inet_diag_sockid begins at the first port.
const (
	reqFamily   = sizeofNlmsghdr + 0
	reqProtocol = sizeofNlmsghdr + 1
	reqStates   = sizeofNlmsghdr + 4
	reqSport    = sizeofNlmsghdr + 8
	reqDport    = sizeofNlmsghdr + 10
	reqSource   = sizeofNlmsghdr + 12
	reqDest     = sizeofNlmsghdr + 28
	sizeofReq   = sizeofNlmsghdr + 56

	// attrBytecode is INET_DIAG_REQ_BYTECODE: a filter of the answer.
	attrBytecode = 1
)

// Answer returns the datagrams that a program receives for the requests in b, which it
// sent to NETLINK_SOCK_DIAG, or nothing if there are none. port is the port ID of the
// program's socket (netlink(7)).
//
// Sockets of TCP and UDP are shown by view. Those of other families and protocols are as
// the kernel tells them. Requests to close sockets (SOCK_DESTROY) fail with EOPNOTSUPP,
// as where the kernel has no CONFIG_INET_DIAG_DESTROY: the node's privileges are not the
// program's.
func Answer(b []byte, port uint32, kernel Kernel, view View) [][]byte {
	w := &writer{port: port}
	for {
		m, rest, ok := next(b)
		if !ok {
			return w.datagrams
		}
		b = rest
		if m.flags&unix.NLM_F_REQUEST == 0 || m.kind < unix.NLMSG_MIN_TYPE {
			if m.flags&unix.NLM_F_ACK != 0 {
				w.fail(m, 0)
			}
			continue
		}
		answerOne(w, m, kernel, view)
	}
}

func answerOne(w *writer, m message, kernel Kernel, view View) {
	isDump := m.flags&unix.NLM_F_DUMP != 0
	var err error
	switch protocol, inet := internet(m); {
	case m.kind != sockDiagByFamily && m.kind != tcpdiagGetsock:
		err = unix.EOPNOTSUPP
	case !inet:
		err = copyAnswer(w, m, kernel)
	case isDump:
		err = dump(w, m, protocol, kernel, view)
	default:
		err = find(w, m, protocol, kernel, view)
	}
	var errno unix.Errno
	switch {
	case errors.As(err, &errno):
		w.fail(m, errno)
	case err != nil:
		w.fail(m, unix.EIO)
	case isDump:
		w.done(m)
	case m.flags&unix.NLM_F_ACK != 0:
		w.fail(m, 0)
	}
}

// internet returns the protocol of the TCP or UDP sockets that a request is about; ok is
// false if it is about others.
func internet(m message) (protocol uint8, ok bool) {
	if m.kind == tcpdiagGetsock {
		return unix.IPPROTO_TCP, m.flags&unix.NLM_F_DUMP != 0
	}
	if len(m.bytes) < sizeofReq {
		return 0, false
	}
	family, protocol := m.bytes[reqFamily], m.bytes[reqProtocol]
	return protocol, (family == unix.AF_INET || family == unix.AF_INET6) &&
		(protocol == unix.IPPROTO_TCP || protocol == unix.IPPROTO_UDP)
}

func copyAnswer(w *writer, m message, kernel Kernel) error {
	b, err := kernel(m.bytes)
	if err != nil {
		return err
	}
	for {
		m, rest, ok := next(b)
		if !ok {
			return nil
		}
		b = rest
		w.add(m.bytes)
	}
}

// dump answers a request for all sockets.
func dump(w *writer, m message, protocol uint8, kernel Kernel, view View) error {
	request, f := withoutFilter(m)
	return each(request, protocol, kernel, view, func(s Socket, b []byte) bool {
		if f.passes(s) {
			w.add(b)
		}
		return true
	})
}

// each calls f with each socket that the view shows, and its message, until f returns
// false.
func each(request []byte, protocol uint8, kernel Kernel, view View,
	f func(s Socket, b []byte) (more bool)) error {
	b, err := kernel(request)
	if err != nil {
		return err
	}
	for {
		m, rest, ok := next(b)
		if !ok {
			return nil
		}
		b = rest
		s, ok := parseSocket(m, protocol)
		if !ok {
			continue
		}
		if s, ok = view(s); !ok {
			continue
		}
		put(m.bytes, s)
		if !f(s, m.bytes) {
			return nil
		}
	}
}

// find answers a request for one socket, which the program names by its addresses. The
// kernel does not know them, so the socket is looked for among all.
func find(w *writer, m message, protocol uint8, kernel Kernel, view View) error {
	family := m.bytes[reqFamily]
	local := addrAt(m.bytes, family, reqSource, reqSport)
	remote := addrAt(m.bytes, family, reqDest, reqDport)
	request := append([]byte(nil), m.bytes[:sizeofReq]...)
	binary.NativeEndian.PutUint32(request, sizeofReq)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(request[reqStates:], ^uint32(0))
	clear(request[reqSport:sizeofReq])
	var listener, found []byte
	err := each(request, protocol, kernel, view, func(s Socket, b []byte) bool {
		switch {
		case s.Local == local && s.Remote == remote:
			found = b
		case s.Local.Port() == local.Port() && s.Remote.Port() == 0 &&
			(s.Local.Addr() == local.Addr() || s.Local.Addr().IsUnspecified()):
			listener = b
		}
		return found == nil
	})
	if found == nil {
		found = listener
	}
	if err == nil && found == nil {
		err = unix.ENOENT
	}
	if err != nil {
		return err
	}
	binary.NativeEndian.PutUint16(found[6:], 0) // not part of a dump
	w.add(found)
	return nil
}
