package rewrite

import (
	"fmt"
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain keeps descriptors that whoever runs the tests has left open, such as a lock,
// from the programs that the tests run: those print the numbers of descriptors they get.
func TestMain(m *testing.M) {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, "rewrite: close_range(2):", err) // Linux before 5.11
	}
	os.Exit(m.Run())
}
