package netif

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// dualHost is a host with addresses of both families.
func dualHost() Host {
	return Host{Addr: netip.MustParsePrefix("10.111.0.2/16"),
		Addr6: netip.MustParsePrefix("fd6f:7865:72::a6f:2/64"), IPv6: true}
}

// TestProcNet compares lines with those that Linux 6.18 writes for such interfaces.
func TestProcNet(t *testing.T) {
	files := dualHost().ProcNet()
	for _, tc := range []struct{ name, line string }{
		{"dev", "boxer0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n"},
		{"dev", " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n"},
		{"if_inet6", "fd6f786500720000000000000a6f0002 02 40 00 a0   boxer0\n"},
		{"route", "boxer0\t00006F0A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0" +
			strings.Repeat(" ", 77) + "\n"},
		{"route", "boxer0\t00000000\tFEFF6F0A\t0003\t0\t0\t0\t00000000\t0\t0\t0" +
			strings.Repeat(" ", 77) + "\n"},
		{"ipv6_route", "fd6f7865007200000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001   boxer0\n"},
		{"fib_trie", "     |-- 10.111.0.2\n        /32 host LOCAL\n"},
		{"arp", "IP address       HW type     Flags       HW address            Mask     Device\n"},
	} {
		if !strings.Contains("\n"+files[tc.name], "\n"+tc.line) {
			t.Errorf("%s has no line %q:\n%s", tc.name, tc.line, files[tc.name])
		}
	}
	for name, content := range files {
		if content != "" && !strings.HasSuffix(content, "\n") {
			t.Errorf("%s has no last line: %q", name, content)
		}
		if own, err := os.ReadFile("/proc/net/" + name); err != nil {
			t.Logf("this machine has no %s: %v", name, err)
		} else if head, _, _ := strings.Cut(string(own), "\n"); strings.Contains(head,
			"  ") && name != "if_inet6" &&
			name != "dev_mcast" && name != "igmp6" && name != "ipv6_route" &&
			!strings.HasPrefix(content, head+"\n") {
			t.Errorf("%s begins %q, the kernel's with %q", name, content, head)
		}
	}
}

// TestSysClassNet compares loopback's files with this machine's.
func TestSysClassNet(t *testing.T) {
	files := dualHost().SysClassNet()
	for _, name := range []string{"addr_len", "address", "broadcast", "carrier", "dev_id",
		"dev_port", "dormant", "flags",
		"ifalias", "ifindex", "iflink", "link_mode", "mtu", "netdev_group", "operstate",
		"tx_queue_len", "type", "uevent"} {
		want, err := os.ReadFile("/sys/class/net/lo/" + name)
		if err != nil {
			t.Logf("this machine has no %s: %v", name, err)
			continue
		}
		if got := files["lo/"+name]; got != string(want) {
			t.Errorf("%s has %q, the kernel's %q", name, got, want)
		}
	}
	counters, err := os.ReadDir("/sys/class/net/lo/statistics")
	if err != nil {
		t.Skip(err)
	}
	for _, c := range counters {
		if files["boxer0/statistics/"+c.Name()] != "0\n" {
			t.Errorf("statistics have no %s", c.Name())
		}
	}
	for name, want := range map[string]string{"address": "02:62:0a:6f:00:02\n",
		"mtu": "1280\n", "type": "1\n", "operstate": "up\n"} {
		if got := files["boxer0/"+name]; got != want {
			t.Errorf("boxer0/%s has %q, want %q", name, got, want)
		}
	}
}
