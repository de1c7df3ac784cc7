package netif

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// SysClassNet returns the contents of the files of /sys/class/net, by name. Each
// interface has a directory (Documentation/ABI/testing/sysfs-class-net).
func (h Host) SysClassNet() map[string]string {
	files := make(map[string]string)
	for _, l := range h.Links() {
		for name, value := range l.sysfs() {
			if value != "" {
				value += "\n"
			}
			files[l.Name+"/"+name] = value
		}
	}
	return files
}

// counters are the files of an interface's statistics. Their values are 0.
var counters = []string{"collisions", "multicast", "rx_bytes", "rx_compressed",
	"rx_crc_errors", "rx_dropped",
	"rx_errors", "rx_fifo_errors", "rx_frame_errors", "rx_length_errors",
	"rx_missed_errors", "rx_nohandler",
	"rx_over_errors", "rx_packets", "tx_aborted_errors", "tx_bytes", "tx_carrier_errors",
	"tx_compressed",
	"tx_dropped", "tx_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_packets",
	"tx_window_errors"}

// sysfs returns the interface's attributes, as net/core/net-sysfs.c shows them.
func (l Link) sysfs() map[string]string {
	state := "unknown"
	if l.OperState == stateUp {
		state = "up"
	}
	files := map[string]string{
		"addr_assign_type": "0",
		"addr_len":         "6",
		"address":          net.HardwareAddr(l.HardwareAddr[:]).String(),
		"broadcast":        net.HardwareAddr(l.Broadcast()).String(),
		"carrier":          "1",
		"dev_id":           "0x0",
		"dev_port":         "0",
		"dormant":          "0",
		// the kernel shows those that it stores, and not those that it computes
		"flags": fmt.Sprintf("%#x",
			l.Flags&(unix.IFF_UP|unix.IFF_LOOPBACK|unix.IFF_NOARP)),
		"gro_flush_timeout": "0",
		"ifalias":           "",
		"ifindex":           fmt.Sprint(l.Index),
		"iflink":            fmt.Sprint(l.Index),
		"link_mode":         "0",
		"mtu":               fmt.Sprint(l.MTU),
		"netdev_group":      "0",
		"operstate":         state,
		"tx_queue_len":      fmt.Sprint(TxQueueLen),
		"type":              fmt.Sprint(l.Type),
		"uevent":            fmt.Sprintf("INTERFACE=%s\nIFINDEX=%d", l.Name, l.Index),
	}
	for _, name := range counters {
		files["statistics/"+name] = "0"
	}
	return files
}
