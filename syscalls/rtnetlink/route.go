package rtnetlink

import (
	"encoding/binary"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// dumpRoutes appends the routes of one family or of both.
func dumpRoutes(h netif.Host, w *netlinkWriter, family uint8) {
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != anyFamily && family != f {
			continue
		}
		for _, r := range h.Routes() {
			if familyOf(r.Dst.Addr()) == f {
				w.route(r, unix.NLM_F_MULTI)
			}
		}
	}
}

// getRoute answers RTM_GETROUTE for one address, as "ip route get" sends it.
func getRoute(h netif.Host, w *netlinkWriter, m netlinkRequest) unix.Errno {
	if f := m.body[0]; f != unix.AF_INET && f != unix.AF_INET6 {
		return unix.EOPNOTSUPP
	}
	if len(m.body) < sizeofRtmsg {
		return unix.EINVAL
	}
	dst := wildcardAt(m.body[0])
	if b, ok := m.attribute(sizeofRtmsg, unix.RTA_DST); ok {
		if dst, ok = netip.AddrFromSlice(b); !ok || familyOf(dst) != m.body[0] {
			return unix.EINVAL
		}
	}
	best, ok := h.RouteTo(dst)
	if !ok {
		return unix.ENETUNREACH
	}
	w.route(best, 0)
	return 0
}

// wildcardAt returns the wildcard address of a family.
func wildcardAt(family uint8) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// route appends an RTM_NEWROUTE message.
func (w *netlinkWriter) route(r netif.Route, flags uint16) {
	w.message(unix.RTM_NEWROUTE, flags, []byte{
		familyOf(r.Dst.Addr()), uint8(r.Dst.Bits()), 0, 0, r.Table, unix.RTPROT_KERNEL,
		r.Scope, r.Type, 0, 0, 0, 0,
	})
	w.attributeUint32(unix.RTA_TABLE, uint32(r.Table))
	if r.Dst.Bits() > 0 {
		w.attribute(unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Gateway.IsValid() {
		w.attribute(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	w.attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(r.Link)))
	if r.Src.IsValid() {
		w.attribute(unix.RTA_PREFSRC, r.Src.AsSlice())
	}
}
