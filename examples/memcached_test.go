package examples

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestMemcached sets and gets keys over UDP.
func TestMemcached(t *testing.T) {
	c := newCloud(t, "memcached", "python3")
	c.function("cache").start("memcached", "-u", "root", "-m", "16", "-U", "11211")
	app := c.function("app")
	const count = 1000
	began := time.Now()
	out := app.run("/usr/bin/python3", absolute(t, "memcached/client.py"), "cache",
		fmt.Sprint(count))
	t.Logf("%s in %v", strings.TrimSpace(out), time.Since(began).Round(time.Millisecond))
	if !strings.HasPrefix(out, fmt.Sprintf("%d keys, ", count)) {
		t.Errorf("the client says %q", out)
	}
}
