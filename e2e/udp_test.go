package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/programs"
)

// TestUDP sends datagrams of all sizes both ways, and to a port that is closed.
func TestUDP(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	echo, app := pair(t, "echo", "app")
	server := echo.start("/usr/bin/python3", script(t, "python/udp.py"), "server", "7007")
	server.Expect(`^listening on 0\.0\.0\.0:7007$`)
	out := app.runFor(2*programs.Patience, "/usr/bin/python3", script(t, "python/udp.py"), "client", "echo", "7007")
	var from, to string
	if _, err := fmt.Sscanf(out, "echoed 6 sizes from %s to %s\n", &from, &to); err != nil {
		t.Fatalf("the client says %q", out)
	}
	app.inPrefix("the client's own address", from)
	app.inPrefix("the server's address", to)
	if !strings.HasSuffix(out, "\nclosed port: ECONNREFUSED\n") {
		t.Errorf("the client says %q", out)
	}
	if got := server.Expect(`^1200 bytes from (\S+)$`)[1]; got != from {
		t.Errorf("the server sees %s, the client is %s", got, from)
	}
}
