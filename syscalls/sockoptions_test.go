package syscalls

import (
	"encoding/binary"
	"math/bits"
	"os"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// TestSocketOptions sets options and reads them, on Linux and on boxer.
func TestSocketOptions(t *testing.T) {
	const sol = unix.SOL_SOCKET
	for _, tc := range []struct {
		name  string
		known differences
		run   func(*script)
	}{
		{name: "sizes of buffers", run: func(s *script) {
			k := s.tcp(s.a)
			k.getInt("SO_RCVBUF's default", sol, unix.SO_SNDBUF, 4)
			for _, size := range []int{0, 1, 2000, 16 << 10, 100 << 10, 20 << 10, -1} {
				k.setInt("SO_RCVBUF", sol, unix.SO_RCVBUF, size)
				k.getInt("SO_RCVBUF", sol, unix.SO_RCVBUF, 4)
				k.setInt("SO_SNDBUF", sol, unix.SO_SNDBUF, size)
				k.getInt("SO_SNDBUF", sol, unix.SO_SNDBUF, 4)
				k.getInt("SO_SNDBUF with less room", sol, unix.SO_SNDBUF, 1)
			}
			u := s.udp(s.a)
			u.setInt("SO_RCVBUF", sol, unix.SO_RCVBUF, 5000)
			u.getInt("SO_RCVBUF", sol, unix.SO_RCVBUF, 4)
			k.shut()
			k.setInt("SO_RCVBUF", sol, unix.SO_RCVBUF, 5000)
			k.getInt("SO_RCVBUF", sol, unix.SO_RCVBUF, 4)
		}},
		{name: "IP_MTU", known: differences{
			"s1 get IP_MTU = 1500, 4 bytes": "s1 get IP_MTU = 1280, 4 bytes", // netif.MTU
		}, run: func(s *script) {
			k := s.udp(s.a)
			k.getInt("IP_MTU of no connection", unix.IPPROTO_IP, unix.IP_MTU, 4)
			k.connect("B:7000")
			k.getInt("IP_MTU", unix.IPPROTO_IP, unix.IP_MTU, 4)
			k.getInt("IPV6_MTU", unix.IPPROTO_IPV6, unix.IPV6_MTU, 4)
			k.connect("127.0.0.1:7000")
			k.getInt("IP_MTU of loopback", unix.IPPROTO_IP, unix.IP_MTU, 4)
		}},
		{name: "IPV6_V6ONLY", run: func(s *script) {
			k := s.tcp6(s.a)
			k.getInt("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 4)
			k.setInt("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
			k.bind("[::]:7000")
			k.getInt("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 4)
			k.getInt("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 2)
			s.tcp(s.a).getInt("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 4)
		}},
		{name: "SO_PROTOCOL", run: func(s *script) {
			s.tcp(s.a).getInt("SO_PROTOCOL", sol, unix.SO_PROTOCOL, 4)
			s.udp(s.a).getInt("SO_PROTOCOL", sol, unix.SO_PROTOCOL, 4)
		}},
		{name: "interfaces", run: func(s *script) {
			const noLink = 999
			k, stream := s.udp(s.a), s.tcp(s.a)
			six := s.open(s.a, unix.AF_INET6, unix.SOCK_DGRAM)
			for _, index := range []int{loopbackIndex, noLink, 0} {
				swapped := int(bits.ReverseBytes32(uint32(index)))
				for _, sock := range []*sock{k, stream} {
					sock.setInt("IP_UNICAST_IF", unix.IPPROTO_IP, unix.IP_UNICAST_IF, swapped)
					sock.getInt("IP_UNICAST_IF", unix.IPPROTO_IP, unix.IP_UNICAST_IF, 4)
				}
				six.setInt("IPV6_UNICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, swapped)
				six.getInt("IPV6_UNICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, 4)
				six.setInt("IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index)
				six.getInt("IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, 4)
			}
			for _, addr := range [][4]byte{{127, 0, 0, 1}, {192, 0, 2, 1}, {}} {
				v := int(binary.NativeEndian.Uint32(addr[:]))
				k.setInt("IP_MULTICAST_IF", unix.IPPROTO_IP, unix.IP_MULTICAST_IF, v)
				k.getInt("IP_MULTICAST_IF", unix.IPPROTO_IP, unix.IP_MULTICAST_IF, 4)
			}
			stream.setInt("IP_MULTICAST_IF", unix.IPPROTO_IP, unix.IP_MULTICAST_IF, 0)
			k.setInt("IPV6_MULTICAST_IF", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, 1)
		}},
		{name: "multicast groups", run: func(s *script) {
			k := s.udp(s.a)
			k.setInt("IP_ADD_MEMBERSHIP", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, 1)
			k.setInt("IPV6_JOIN_GROUP", unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, 1)
			s.tcp(s.a).setInt("IP_ADD_MEMBERSHIP", unix.IPPROTO_IP,
				unix.IP_ADD_MEMBERSHIP, 1)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			compareWith(t, tc.known, carryDatagrams, tc.run)
		})
	}
}

// TestManyOptions sets an option of more sockets than the node remembers.
func TestManyOptions(t *testing.T) {
	var o options
	if !o.empty() {
		t.Error("new options are not empty")
	}
	for cookie := range uint64(maxOptions + 10) {
		o.set(optionKey{cookie, unix.SOL_SOCKET, unix.SO_RCVBUF}, 1)
	}
	if len(o.m) != maxOptions {
		t.Errorf("%d options are kept, want %d", len(o.m), maxOptions)
	}
	last := uint64(maxOptions + 9)
	if o.get(optionKey{last, unix.SOL_SOCKET, unix.SO_RCVBUF}) != 1 ||
		o.get(optionKey{last, unix.SOL_SOCKET, unix.SO_SNDBUF}) != 0 {
		t.Error("the last option is not what was set")
	}
	if o.set(optionKey{last, unix.SOL_SOCKET, unix.SO_RCVBUF},
		0); o.get(optionKey{last, unix.SOL_SOCKET, unix.SO_RCVBUF}) != 0 {
		t.Error("the option was not removed")
	}
}

// TestBindToDevice binds sockets to the node's interface and to one of the host.
func TestBindToDevice(t *testing.T) {
	s := boxedScript(t)
	k := s.udp(s.a)
	set := func(name string) unix.Errno {
		_, p := s.a.mem.take(16, []byte(name))
		_, errno := k.call(unix.SYS_SETSOCKOPT, k.fdArg(), unix.SOL_SOCKET,
			unix.SO_BINDTODEVICE, p, uintptr(len(name)))
		return errno
	}
	get := func(room int) (string, unix.Errno) {
		b, p := s.a.mem.take(32, nil)
		size, sp := s.a.mem.take(4, binary.NativeEndian.AppendUint32(nil, uint32(room)))
		_, errno := k.call(unix.SYS_GETSOCKOPT, k.fdArg(), unix.SOL_SOCKET,
			unix.SO_BINDTODEVICE, p, sp)
		return string(b[:binary.NativeEndian.Uint32(size)]), errno
	}
	if got, errno := get(16); got != "" || errno != 0 {
		t.Errorf("a new socket is bound to %q, %v", got, errno)
	}
	if errno := set(netif.InterfaceName); errno != 0 {
		t.Error(errno)
	}
	if got, errno := get(16); got != netif.InterfaceName+"\x00" || errno != 0 {
		t.Errorf("the socket is bound to %q, %v", got, errno)
	}
	if _, errno := get(4); errno != unix.EINVAL { // sock_getbindtodevice, net/core/sock.c
		t.Errorf("with less room than IFNAMSIZ: %v", errno)
	}
	if name, err := unix.GetsockoptString(k.fd, unix.SOL_SOCKET,
		unix.SO_BINDTODEVICE); err != nil || name != "" {
		t.Errorf("to the kernel the socket is bound to %q, %v", name, err)
	}
	if errno := set("no-such-one"); errno != unix.ENODEV {
		t.Errorf("an interface that does not exist: %v", errno)
	}
	if got, _ := get(16); got != "" {
		t.Errorf("then the socket is bound to %q", got)
	}
	if errno := set("lo"); errno != 0 {
		t.Errorf("lo: %v", errno)
	}
	if got, _ := get(16); got != "lo\x00" {
		t.Errorf("then the socket is bound to %q", got)
	}
}

// TestIoctl asks for the node's interfaces by ioctl(2).
func TestIoctl(t *testing.T) {
	s := boxedScript(t)
	k := s.udp(s.a)
	ioctl := func(request int, name string) ([]byte, unix.Errno) {
		b, p := s.a.mem.take(40, []byte(name))
		_, errno := s.a.call(os.Getpid(), unix.SYS_IOCTL, k.fdArg(), uintptr(request), p)
		return b, errno
	}
	b, errno := ioctl(unix.SIOCGIFADDR, netif.InterfaceName)
	if errno != 0 || [4]byte(b[20:24]) != addrA.As4() {
		t.Errorf("SIOCGIFADDR: %v, %v", b[16:32], errno)
	}
	b, errno = ioctl(unix.SIOCGIFMTU, netif.InterfaceName)
	if mtu := binary.NativeEndian.Uint32(b[16:]); errno != 0 || mtu != netif.MTU {
		t.Errorf("SIOCGIFMTU: %d, %v", mtu, errno)
	}
	if _, errno = ioctl(unix.SIOCGIFADDR, "no-such-one"); errno != unix.ENODEV {
		t.Errorf("an interface that does not exist: %v", errno)
	}
	if _, errno = ioctl(unix.SIOCSIFMTU, netif.InterfaceName); errno == 0 {
		t.Error("a program has changed the MTU")
	}
	conf, p := s.a.mem.take(16, nil) // a NULL buffer: how much room is needed
	if _, errno := s.a.call(os.Getpid(), unix.SYS_IOCTL, k.fdArg(), unix.SIOCGIFCONF,
		p); errno != 0 || binary.NativeEndian.Uint32(conf) != 2*40 {
		t.Errorf("SIOCGIFCONF: %v, %v", conf, errno)
	}
	if _, errno := s.a.call(os.Getpid(), unix.SYS_IOCTL, k.fdArg(), unix.SIOCGIFCONF,
		1); errno != unix.EFAULT {
		t.Errorf("SIOCGIFCONF to a bad pointer: %v", errno)
	}
}

// TestLimitOfLocks changes the limit by which package landlock finds restricted threads:
// the call succeeds, and the limit stays.
func TestLimitOfLocks(t *testing.T) {
	s := boxedScript(t)
	var before unix.Rlimit
	if err := unix.Prlimit(0, landlock.MarkLimit, nil, &before); err != nil {
		t.Fatal(err)
	}
	wanted := binary.NativeEndian.AppendUint64(nil, 7)
	_, p := s.a.mem.take(16, binary.NativeEndian.AppendUint64(wanted, 7))
	old, op := s.a.mem.take(16, nil)
	call := func(nr uintptr, args ...uintptr) unix.Errno {
		_, errno := s.a.call(os.Getpid(), nr, args...)
		return errno
	}
	for _, tc := range []struct {
		what  string
		nr    uintptr
		args  []uintptr
		errno unix.Errno
	}{
		{"setrlimit", unix.SYS_SETRLIMIT, []uintptr{landlock.MarkLimit, p}, 0},
		{"prlimit64", unix.SYS_PRLIMIT64, []uintptr{0, landlock.MarkLimit, p, op}, 0},
		{"prlimit64 of this process", unix.SYS_PRLIMIT64, []uintptr{
			uintptr(os.Getpid()), landlock.MarkLimit, p, 0}, 0},
		{"setrlimit with a bad pointer", unix.SYS_SETRLIMIT, []uintptr{landlock.MarkLimit,
			1}, unix.EFAULT},
		{"prlimit64 with a bad pointer", unix.SYS_PRLIMIT64, []uintptr{0,
			landlock.MarkLimit, 1, 0}, unix.EFAULT},
		{"prlimit64 of no process", unix.SYS_PRLIMIT64, []uintptr{1 << 30,
			landlock.MarkLimit, p, 0}, unix.ESRCH},
	} {
		if errno := call(tc.nr, tc.args...); errno != tc.errno {
			t.Errorf("%s: %v, want %v", tc.what, errno, tc.errno)
		}
	}
	if got := binary.NativeEndian.Uint64(old); got != before.Cur {
		t.Errorf("prlimit64 told of a limit of %d, want %d", got, before.Cur)
	}
	var after unix.Rlimit
	if err := unix.Prlimit(0, landlock.MarkLimit, nil, &after); err != nil ||
		after != before {
		t.Errorf("the limit is %v now, %v; want %v", after, err, before)
	}
}
