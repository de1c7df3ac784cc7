package sandbox

import "testing"

// The tests of this package need what Probe probes: it must find it all here.
func TestProbe(t *testing.T) {
	features := Probe()
	if len(features) == 0 {
		t.Fatal("nothing was probed")
	}
	for _, f := range features {
		if f.Needed && f.Err != nil {
			t.Errorf("%s: %v", f.Name, f.Err)
		}
	}
}
