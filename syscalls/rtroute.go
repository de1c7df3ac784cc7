package syscalls

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// dumpRoutes writes the routes of a family, or of both.
func dumpRoutes(h Host, w *netlinkWriter, family uint8) {
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != anyFamily && family != f {
			continue
		}
		for _, r := range h.routes() {
			if familyOf(r.dst.Addr()) == f {
				w.route(r, unix.NLM_F_MULTI)
			}
		}
	}
}

// getRoute answers which way leads to an address, as "ip route get" asks.
func getRoute(h Host, w *netlinkWriter, m netlinkRequest) unix.Errno {
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
	best, ok := h.routeTo(dst)
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

// route writes RTM_NEWROUTE.
func (w *netlinkWriter) route(r route, flags uint16) {
	w.message(unix.RTM_NEWROUTE, flags, []byte{
		familyOf(r.dst.Addr()), uint8(r.dst.Bits()), 0, 0, r.table, unix.RTPROT_KERNEL,
		r.scope, r.kind, 0, 0, 0, 0,
	})
	w.attributeUint32(unix.RTA_TABLE, uint32(r.table))
	if r.dst.Bits() > 0 {
		w.attribute(unix.RTA_DST, r.dst.Addr().AsSlice())
	}
	if r.via.IsValid() {
		w.attribute(unix.RTA_GATEWAY, r.via.AsSlice())
	}
	w.attribute(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(r.index)))
	if r.src.IsValid() {
		w.attribute(unix.RTA_PREFSRC, r.src.AsSlice())
	}
}
