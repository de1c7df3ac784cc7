package main

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInterrupted ends commands by ctrl-C while they ask a coordinator that does not
// answer.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"status", "doctor"} {
		silent, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		cmd := exec.Command(boxer, command, "--join",
			fmt.Sprintf("boxer://%s@%v?pin=%s", strings.Repeat("A", 26),
				silent.LocalAddr(), strings.Repeat("a", 52)))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = silent.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := silent.Read(make([]byte, 2000)); err != nil {
			t.Errorf("%s asks nobody: %v", command, err)
		}
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("%s: status %d after SIGINT, want 130", command, code)
		}
	}
}
