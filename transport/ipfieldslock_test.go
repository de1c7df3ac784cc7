package transport

import (
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
)

// TestIPFieldsUpdateHoldsNoLock has what is told of an update take the stream's lock, as
// a caller does that holds a lock of its own there and around SetIPFields.
func TestIPFieldsUpdateHoldsNoLock(t *testing.T) {
	var i ipFields
	var got stream.IPFields
	i.changed = func(f stream.IPFields) {
		i.mu.Lock() // SetIPFields does
		defer i.mu.Unlock()
		got = f
	}
	want := stream.IPFields{TTL: 7, TOS: 16}
	if i.update(want); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
