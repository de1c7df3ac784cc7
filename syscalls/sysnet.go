package syscalls

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// sysClassNet returns the files of /sys/class/net for the node's programs, by name: a
// folder for each interface (Documentation/ABI/testing/sysfs-class-net).
func (h Host) sysClassNet() map[string]string {
	files := make(map[string]string)
	for _, l := range h.links() {
		for name, value := range l.sysfs() {
			if value != "" {
				value += "\n"
			}
			files[l.name+"/"+name] = value
		}
	}
	return files
}

// counters are the files of an interface's statistics. Nobody counts.
var counters = []string{"collisions", "multicast", "rx_bytes", "rx_compressed",
	"rx_crc_errors", "rx_dropped",
	"rx_errors", "rx_fifo_errors", "rx_frame_errors", "rx_length_errors",
	"rx_missed_errors", "rx_nohandler",
	"rx_over_errors", "rx_packets", "tx_aborted_errors", "tx_bytes", "tx_carrier_errors",
	"tx_compressed",
	"tx_dropped", "tx_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_packets",
	"tx_window_errors"}

// sysfs returns the interface's attributes, as net/core/net-sysfs.c shows them.
func (l link) sysfs() map[string]string {
	state := "unknown"
	if l.state == stateUp {
		state = "up"
	}
	files := map[string]string{
		"addr_assign_type": "0",
		"addr_len":         "6",
		"address":          net.HardwareAddr(l.mac[:]).String(),
		"broadcast":        net.HardwareAddr(l.broadcast()).String(),
		"carrier":          "1",
		"dev_id":           "0x0",
		"dev_port":         "0",
		"dormant":          "0",
		// what the kernel keeps
		"flags": fmt.Sprintf("%#x",
			l.flags&(unix.IFF_UP|unix.IFF_LOOPBACK|unix.IFF_NOARP)),
		"gro_flush_timeout": "0",
		"ifalias":           "",
		"ifindex":           fmt.Sprint(l.index),
		"iflink":            fmt.Sprint(l.index),
		"link_mode":         "0",
		"mtu":               fmt.Sprint(l.mtu),
		"netdev_group":      "0",
		"operstate":         state,
		"tx_queue_len":      fmt.Sprint(txQueueLen),
		"type":              fmt.Sprint(l.kind),
		"uevent":            fmt.Sprintf("INTERFACE=%s\nIFINDEX=%d", l.name, l.index),
	}
	for _, name := range counters {
		files["statistics/"+name] = "0"
	}
	return files
}
