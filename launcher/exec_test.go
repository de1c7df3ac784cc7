package launcher

import (
	"os"
	"strings"
	"testing"
)

// TestExecKeepsSecrets has a command that is executed inside of boxer run show its
// environment.
func TestExecKeepsSecrets(t *testing.T) {
	out := inChild(t, func() {
		if os.Getenv(joinVariable) != "boxer://token@host:1/pin" {
			println("the URL is lost")
		}
		println(Exec([]string{"env"}).Error())
	}, joinVariable+"=boxer://token@host:1/pin", "OTHER=other")
	if strings.Contains(out, joinVariable) || !strings.Contains(out, "OTHER=other\n") {
		t.Errorf("the environment is\n%s", out)
	}
}
