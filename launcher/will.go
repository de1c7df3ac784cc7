package launcher

import (
	"net"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// When the supervisor has died, boxer-init sends the node's last will, and sends it again
// after pauses, because datagrams get lost.
const (
	willRepeats = 2
	willPause   = 100 * time.Millisecond
)

// sendWill tells the coordinator that the supervisor has died. A nil will does nothing.
// Errors are ignored: then the node's lease ends later.
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
