package transport

import (
	"testing"
	"time"
)

func TestPeerTimeout(t *testing.T) {
	def := Timers{}.withDefaults()
	if got := PeerTimeout(def.Idle); got.Idle != def.Idle ||
		got.KeepAlive > def.KeepAlive || got.Dead != def.Dead {
		t.Errorf("the default: %+v", got)
	}
	if got := PeerTimeout(time.Minute); got.KeepAlive != def.KeepAlive ||
		got.Dead != def.Dead || got.Idle != time.Minute {
		t.Errorf("a longer one: %+v", got) // NATs forget, and paths fail, as before
	}
	// A peer that was heard just before it stopped for three quarters of the time is
	// heard again in time.
	for _, d := range []time.Duration{MinPeerTimeout, 2 * time.Second, 5 * time.Second} {
		if got := PeerTimeout(d); got.KeepAlive+d*3/4 >= got.Idle ||
			got.Dead >= got.Idle || got.Connect != def.Connect {
			t.Errorf("%v: %+v", d, got)
		}
	}
}
