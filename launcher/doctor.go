package launcher

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/rewrite"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// A Finding is the result of one check of Diagnose.
type Finding struct {
	Name   string `json:"name"`
	For    string `json:"for,omitempty"`
	Needed bool   `json:"needed"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Remedy string `json:"remedy,omitempty"` // if not OK
}

// Diagnose checks what this host offers to boxer. With a join URL, it also checks whether
// the coordinator can be reached.
func Diagnose(ctx context.Context, url *coordinator.JoinURL) []Finding {
	how := diagnoseInterposer()
	kernel := Finding{Name: "kernel", For: "has all of the following", OK: true,
		Needed: how.Detail != string(InterposerRewrite), Detail: sandbox.Kernel()}
	if err := sandbox.CheckKernel(); err != nil {
		kernel.OK, kernel.Detail, kernel.Remedy = false, err.Error(),
			"run on a newer kernel"
	}
	found := []Finding{kernel}
	if e := FindEnclosing(); e != nil {
		// The kernel allows no second supervisor (seccomp(2), EBUSY), so the other checks
		// would fail.
		found = append(found, Finding{Name: "boxer run", OK: true, Detail: e.String() +
			": this host has what boxer needs; run boxer doctor outside for the whole list"})
		if url != nil {
			found = append(found, diagnoseNetwork(ctx, *url)...)
		}
		return found
	}
	for _, f := range sandbox.Probe() {
		d := Finding{Name: f.Name, For: f.For, Needed: f.Needed, OK: f.Err == nil,
			Detail: "Linux " + f.Since}
		if f.Err != nil {
			d.Detail, d.Remedy = fmt.Sprintf("%v (Linux %s)", f.Err, f.Since), f.Remedy
		}
		d.Needed = d.Needed && how.Detail != string(InterposerRewrite)
		found = append(found, d)
	}
	found = append(found, how)
	found = append(found, diagnoseAbilities(InterposerKind(how.Detail))...)
	found = append(found, diagnoseAliases(), diagnoseHost(), diagnoseProcNet(),
		diagnoseProc())
	if url != nil {
		found = append(found, diagnoseNetwork(ctx, *url)...)
	}
	return found
}

// diagnoseInterposer finds out how boxer would take calls. If the host refuses filters,
// it runs this program as "boxer version" under the loader of package rewrite.
func diagnoseInterposer() Finding {
	f := Finding{Name: "interposer", For: "takes the calls of programs", Needed: true}
	kind, why := InterposerAuto.choose()
	f.OK, f.Detail = true, string(kind)
	if kind != InterposerRewrite {
		return f
	}
	f.Remedy = fmt.Sprintf("none needed: boxer would use a filter, but: %v", why)
	if err := rewrite.Probe("/proc/self/exe", "boxer", "version"); err != nil {
		f.OK, f.Detail, f.Remedy = false, err.Error(),
			"run where seccomp(2) is allowed, or where programs may be rewritten"
	}
	return f
}

// diagnoseAbilities lists what programs lack that they would have with the other
// interposer.
func diagnoseAbilities(kind InterposerKind) (found []Finding) {
	other, remedy := InterposerRewrite, "boxer run --interposer rewrite"
	if kind == InterposerRewrite {
		other, remedy = InterposerSeccomp, "run where seccomp(2) is allowed"
	}
	for _, l := range kind.abilities().Lacks(other.abilities()) {
		found = append(found, Finding{Name: l.Name, For: "not with " + string(kind),
			Detail: l.What, Remedy: remedy})
	}
	return found
}

func diagnoseAliases() Finding {
	f := Finding{Name: "loopback addresses", For: "gives each node ports of its own",
		Needed: true}
	a, err := syscalls.ClaimAliases()
	if err != nil {
		f.Detail, f.Remedy = err.Error(),
			"bring up the loopback interface: ip link set lo up"
		return f
	}
	defer a.Release()
	f.OK, f.Detail = true, "such as "+a.Public.String()
	return f
}

func diagnoseHost() Finding {
	f := Finding{Name: "UTS namespace", For: "also shows the node's name in /proc/sys/kernel/hostname"}
	h, _ := inOwnNamespaces(func() error { return nil })
	if f.OK = h.named; !f.OK {
		f.Detail, f.Remedy = "not permitted, or its hostname cannot be set",
			"run as root, or with CAP_SYS_ADMIN; without it, uname and sethostname are still right"
	}
	return f
}

func diagnoseProcNet() Finding {
	f := Finding{Name: "mount namespace",
		For: "also shows the node's interfaces in /proc/net and /sys"}
	h, err := inOwnNamespaces(func() error { return (&cover{}).mount() })
	switch {
	case !h.mounted:
		f.Detail, f.Remedy = "not permitted",
			"run as root, or with CAP_SYS_ADMIN; without it, rtnetlink and ioctl are still right"
	case err != nil:
		f.Detail, f.Remedy = err.Error(),
			"a kernel with move_mount(2), mount_setattr(2) and CONFIG_TTY"
	default:
		f.OK = true
	}
	return f
}

func diagnoseProc() Finding {
	f := Finding{Name: "/proc/PID/task/TID/children",
		For: "ends processes that a program leaves behind", Needed: false}
	if _, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil {
		f.Detail, f.Remedy = err.Error(), "a kernel with CONFIG_PROC_CHILDREN"
		return f
	}
	f.OK = true
	return f
}

// diagnoseNetwork joins the network for a moment, to see this host as the coordinator
// sees it.
func diagnoseNetwork(ctx context.Context, url coordinator.JoinURL) []Finding {
	reach := Finding{Name: "UDP to the coordinator", For: "joins networks", Needed: true}
	id, err := transport.NewIdentity()
	if err != nil {
		reach.Detail = err.Error()
		return []Finding{reach}
	}
	socket, err := transport.Listen(netip.AddrPort{})
	if err != nil {
		reach.Detail = err.Error()
		return []Finding{reach}
	}
	defer socket.Close()
	c, err := coordinator.Join(ctx, coordinator.ClientConfig{URL: url, Socket: socket,
		Identity: id, HostID: hostID()})
	if err != nil {
		reach.Detail, reach.Remedy = err.Error(), remedyOf(err, url.Host)
		return []Finding{reach}
	}
	defer c.Close()
	if way := c.Detour(); way != "" {
		// The coordinator sees the end of a tunnel, and no NAT.
		reach.Name, reach.Needed = "UDP to the coordinator", false
		reach.Detail = "no UDP gets through; the node uses " + way +
			", which is slower, and the coordinator relays everything"
		reach.Remedy = "allow outgoing UDP to " + url.Host
		return []Finding{reach, diagnoseAddresses(c.Prefix(), c.Prefix6())}
	}
	reach.OK, reach.Detail = true, fmt.Sprintf("%v, from %v", c.Server(), c.Reflexive())
	return []Finding{reach, diagnoseNAT(c.Reflexive(), socket.LocalAddr()),
		diagnoseAddresses(c.Prefix(), c.Prefix6())}
}

// diagnoseAddresses checks whether the network's prefixes cover addresses of this host.
func diagnoseAddresses(prefix, prefix6 netip.Prefix) Finding {
	f := Finding{Name: "addresses of the network",
		For: "lets programs reach nodes and this host's own network", OK: true,
		Detail: prefix.String()}
	if own, ok := coordinator.Clash(prefix, prefix6); ok {
		f.OK = false
		f.Detail = fmt.Sprintf("%v covers this host's own network, %v", prefix, own)
		f.Remedy = fmt.Sprintf("start the coordinator with another --prefix, such as %v",
			coordinator.FreePrefix())
	}
	return f
}

// remedyOf returns what to do after a failed join.
func remedyOf(err error, host string) string {
	_, dns := errors.AsType[*net.DNSError](err)
	switch {
	case !errors.Is(err, coordinator.ErrUnreachable):
		return "use the join URL that the coordinator printed"
	case dns:
		return "check the host in the join URL, and this host's name servers"
	case errors.Is(err, unix.ECONNREFUSED):
		return "start the coordinator at " + host +
			", or use the join URL of the one that runs"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN):
		return "give this host a route to " + host
	}
	return "allow outgoing UDP to " + host +
		", or start the coordinator with --tls-listen 0.0.0.0:443 and allow that"
}

// diagnoseNAT reports what one server can find out: whether a NAT translates the address,
// and whether it keeps the port. Whether the mapping is the same for every destination
// (RFC 4787 section 4.1) takes two servers. `boxer status` shows the effect: pairs that
// cannot punch a path are relayed.
func diagnoseNAT(reflexive, local netip.AddrPort) Finding {
	f := Finding{Name: "NAT", For: "decides whether paths can be punched", OK: true}
	switch {
	case isLocalAddr(reflexive.Addr()):
		f.Detail = "none: the coordinator sees this host's own address"
	case reflexive.Port() == local.Port():
		f.Detail = "yes, keeps the port: paths can be punched, most likely"
	default:
		f.Detail = "yes, changes the port: if it does so for each destination, paths to others of that kind are relayed"
	}
	return f
}

func isLocalAddr(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, i := range addrs {
		if n, ok := i.(*net.IPNet); ok && n.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return false
}
