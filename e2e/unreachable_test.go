package e2e

import (
	"context"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestUnreachableCoordinator has commands that do not reach the coordinator: they say
// why at once, and end with the status that the way of their end has.
func TestUnreachableCoordinator(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "ip")
	c := newCloud(t)
	f := c.function("app", punchable)
	host := func(where string) string {
		before, rest, _ := strings.Cut(c.url, "@")
		_, query, _ := strings.Cut(rest, "?")
		return before + "@" + where + "?" + query
	}
	nobody := c.public.Addr().String() + ":1" // where nobody listens
	for _, tc := range []struct {
		name, url, route, want string
		status                 int
		within                 time.Duration // the end; 0: it is interrupted
	}{
		{"refused", host(nobody), "", "nobody listens on UDP port 1 of " +
			c.public.Addr().String(), 130, 0},
		{"name servers down", host("coordinator.example:7700"), "",
			"name servers do not answer for coordinator.example", 130, 0},
		{"no route", c.url, "del", "this host has no route to " +
			c.public.Addr().String(), 125, 6 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.route != "" {
				if out, err := f.host.Command(t.Context(), "ip", "route", tc.route,
					"default").CombinedOutput(); err != nil {
					t.Fatalf("ip route: %v\n%s", err, out)
				}
			}
			began := time.Now()
			cmd := f.host.Command(context.Background(), boxer, "status")
			cmd.Env = append(os.Environ(), "BOXER_JOIN="+tc.url)
			p := proctest.ForTest(t, "status", cmd)
			if _, err := p.Err.Within(proctest.Patience,
				regexp.MustCompile(regexp.QuoteMeta(tc.want))); err != nil {
				t.Errorf("it does not say why: %v", err)
			}
			t.Logf("said after %v", time.Since(began).Round(time.Millisecond))
			limit := tc.within
			if limit == 0 {
				p.Signal(syscall.SIGINT)
				limit = proctest.Patience
			}
			if status := p.Wait(limit); status != tc.status {
				t.Errorf("status %d, want %d", status, tc.status)
			}
		})
	}
}
