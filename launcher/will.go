package launcher

import (
	"net"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// boxer-init sends the node's last will when the supervisor is gone, and again after
// each of some pauses.
const (
	willRepeats = 2
	willPause   = 100 * time.Millisecond
)

// sendWill tells the coordinator that the supervisor is dead, if there is a will. What
// goes wrong cannot be mended: then the lease ends.
func sendWill(w *coordinator.Will) {
	if w == nil {
		return
	}
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(w.Server))
	if err != nil {
		return
	}
	defer c.Close()
	_, _ = c.Write(w.Message)
}
