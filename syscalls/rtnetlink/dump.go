package rtnetlink

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// Address families of rtnetlink that package unix lacks (linux/rtnetlink.h).
const (
	familyIPMR  = 128 // RTNL_FAMILY_IPMR: IPv4 multicast routes
	familyIP6MR = 129 // RTNL_FAMILY_IP6MR
)

// anyFamily in a row of dumpable stands for the handler that the kernel has
// registered for AF_UNSPEC.
const anyFamily = unix.AF_UNSPEC

// dumpable has, by the type of a request, the families for which the kernel has a dump
// handler. For every other family the kernel uses the handler of AF_UNSPEC
// (rtnetlink_rcv_msg of net/core/rtnetlink.c), and fails with EOPNOTSUPP if there is
// none. The table was measured on Linux 6.18, by requests of all types for all families.
var dumpable = map[uint16][]uint8{
	unix.RTM_GETLINK: {anyFamily, unix.AF_BRIDGE, unix.AF_INET6, familyIPMR},
	unix.RTM_GETADDR: {anyFamily, unix.AF_INET, unix.AF_INET6},
	unix.RTM_GETROUTE: {anyFamily, unix.AF_INET, unix.AF_INET6, familyIPMR,
		familyIP6MR},
	unix.RTM_GETNEIGH:         {anyFamily, unix.AF_BRIDGE},
	unix.RTM_GETRULE:          {anyFamily},
	unix.RTM_GETQDISC:         {anyFamily},
	unix.RTM_GETTCLASS:        {anyFamily},
	unix.RTM_GETTFILTER:       {anyFamily},
	unix.RTM_GETACTION:        {anyFamily},
	unix.RTM_GETMULTICAST:     {unix.AF_INET, unix.AF_INET6},
	unix.RTM_GETANYCAST:       {unix.AF_INET6},
	unix.RTM_GETNEIGHTBL:      {anyFamily},
	unix.RTM_GETADDRLABEL:     {unix.AF_INET6},
	unix.RTM_GETNETCONF:       {anyFamily, unix.AF_INET, unix.AF_INET6},
	unix.RTM_GETMDB:           {unix.AF_BRIDGE},
	unix.RTM_GETNSID:          {anyFamily},
	unix.RTM_GETSTATS:         {anyFamily},
	unix.RTM_GETCHAIN:         {anyFamily},
	unix.RTM_GETNEXTHOP:       {anyFamily},
	unix.RTM_GETNEXTHOPBUCKET: {anyFamily},
}

// dumpFamily returns the family whose handler answers a dump request. ok is false if
// there is no handler.
func dumpFamily(kind uint16, family uint8) (handler uint8, ok bool) {
	any := false
	for _, f := range dumpable[kind] {
		if f == family {
			return f, true
		}
		any = any || f == anyFamily
	}
	return anyFamily, any
}

// answerDump answers a request for all objects of a kind. A node has no neighbours,
// queues or multicast groups, so their dumps are empty. done is false if the dump did not
// begin; errno is the reason.
func answerDump(h netif.Host, w *netlinkWriter, m netlinkRequest) (done bool,
	errno unix.Errno) {
	family, ok := dumpFamily(m.kind, m.body[0])
	if !ok {
		return false, unix.EOPNOTSUPP
	}
	var failed unix.Errno
	switch m.kind {
	case unix.RTM_GETLINK:
		// no bridge, no multicast routing
		if family == anyFamily || family == unix.AF_INET6 {
			dumpLinks(h, w, family)
		}
	case unix.RTM_GETADDR:
		dumpAddresses(h, w, family, m)
	case unix.RTM_GETROUTE:
		dumpRoutes(h, w, family)
	case unix.RTM_GETRULE:
		failed = dumpRules(h, w, m.body[0])
	}
	w.message(unix.NLMSG_DONE, unix.NLM_F_MULTI,
		binary.NativeEndian.AppendUint32(nil, uint32(-int32(failed))))
	return true, 0
}

// dumpLinks appends the interfaces, for AF_UNSPEC or AF_INET6. The messages repeat the
// family (inet6_fill_ifinfo of net/ipv6/addrconf.c).
func dumpLinks(h netif.Host, w *netlinkWriter, family uint8) {
	for _, l := range h.Links() {
		w.link(l, unix.NLM_F_MULTI)
		w.b[w.begin+sizeofNlmsghdr] = family
	}
}

// dumpAddresses appends the addresses of one family or of both. With
// NETLINK_GET_STRICT_CHK (netlink(7)) a request can name one interface. Without it, all
// known libraries send the index 0.
func dumpAddresses(h netif.Host, w *netlinkWriter, family uint8, m netlinkRequest) {
	var only int32
	if len(m.body) >= sizeofIfaddrmsg {
		only = int32(binary.NativeEndian.Uint32(m.body[4:]))
	}
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != anyFamily && family != f {
			continue
		}
		for _, l := range h.Links() {
			for _, a := range l.Addrs {
				if familyOf(a.Addr()) == f && (only == 0 || only == l.Index) {
					w.address(l, a)
				}
			}
		}
	}
}

// rules are the routing policy rules of a Linux host that has no others, by priority
// (ip-rule(8)).
var rules = []struct {
	priority uint32
	table    uint8
	onlyIPv4 bool
}{
	{0, unix.RT_TABLE_LOCAL, false},
	{32766, unix.RT_TABLE_MAIN, false},
	{32767, unix.RT_TABLE_DEFAULT, true},
}

// dumpRules appends the routing policy rules of one family or of all. It returns the
// result of the dump (fib_nl_dumprule of net/core/fib_rules.c).
func dumpRules(h netif.Host, w *netlinkWriter, family uint8) unix.Errno {
	known := false
	for _, f := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if family != anyFamily && family != f || f == unix.AF_INET6 && !h.IPv6 {
			continue
		}
		known = true
		for _, r := range rules {
			if !r.onlyIPv4 || f == unix.AF_INET {
				w.rule(f, r.priority, r.table)
			}
		}
	}
	if !known && family != familyIPMR && family != familyIP6MR {
		return unix.EAFNOSUPPORT
	}
	return 0
}

// Values of linux/fib_rules.h.
const (
	frToTable          = 1 // FR_ACT_TO_TBL
	fraPriority        = 6
	fraSuppressPrefix  = 14
	fraTable           = 15
	fraProtocol        = 21
	noSuppressedPrefix = ^uint32(0)
)

// rule appends an RTM_NEWRULE message.
func (w *netlinkWriter) rule(family uint8, priority uint32, table uint8) {
	w.message(unix.RTM_NEWRULE, unix.NLM_F_MULTI,
		[]byte{family, 0, 0, 0, table, 0, 0, frToTable, 0, 0, 0, 0})
	w.attributeUint32(fraTable, uint32(table))
	w.attributeUint32(fraSuppressPrefix, noSuppressedPrefix)
	w.attribute(fraProtocol, []byte{unix.RTPROT_KERNEL})
	if priority != 0 {
		w.attributeUint32(fraPriority, priority)
	}
}
