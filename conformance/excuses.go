package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// excuses are the tests of others, SUITE.TEST, that pass bare and not under boxer, each
// with its reason.
var excuses = map[string]string{
	"libuv1.udp_multicast_join6": "skipped: the network has no multicast",
	"net.TestMultiPathTCP":       "skipped: Multipath TCP is not there, as on kernels built without it",
}

// ExcusedTests returns the excused tests as a list of Markdown.
func ExcusedTests() string {
	var b strings.Builder
	for _, test := range slices.Sorted(maps.Keys(excuses)) {
		fmt.Fprintf(&b, "- `%s`: %s\n", test, excuses[test])
	}
	return b.String()
}
