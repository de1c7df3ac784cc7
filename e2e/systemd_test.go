package e2e

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// serviceSays is what testdata/service.py and its manager print. The manager takes
// notifications of its service's main process only.
const serviceSays = `sockets 1
tcp 1
watchdog 1 20000000
started by the manager True
child's sockets 0 watchdog 0
ready 1
main process 1
alive 1
barrier 1
file 1
as another user 1
manager: READY=1 STATUS=serving
manager: WATCHDOG=1
manager: BARRIER=1 with 1 files
manager: FDSTORE=1 FDNAME=null with 1 files
manager: STOPPING=1
manager: status 7
`

// TestServiceManager starts a program as systemd does, with a socket, a watchdog and
// notifications, by "ExecStart=boxer run". The program uses systemd's own library.
func TestServiceManager(t *testing.T) {
	natlab.NeedCommands(t, "/usr/bin/python3")
	app := newCloud(t).function("app", punchable)
	manager, err := filepath.Abs("../testdata/manager.py")
	if err != nil {
		t.Fatal(err)
	}
	service := filepath.Join(filepath.Dir(manager), "service.py")
	for _, kind := range []string{"path", "abstract"} {
		t.Run(kind, func(t *testing.T) {
			port := map[string]string{"path": "8101", "abstract": "8102"}[kind]
			// The manager is outside of boxer: it runs the command that start would.
			cmd := app.with(t).command("/usr/bin/python3", service, port)
			inner := slices.Clone(cmd.Args[slices.Index(cmd.Args, boxerOr("/usr/bin/python3")):])
			outer := app.host.Command(t.Context(), "/usr/bin/python3",
				append([]string{manager, kind, port}, inner...)...)
			outer.Env = cmd.Env
			out, err := outer.CombinedOutput()
			if err != nil || string(out) != serviceSays {
				t.Errorf("%v: got\n%swant\n%s", err, out, serviceSays)
			}
		})
	}
}

// boxerOr is the command that starts a program: boxer, or run bare the program.
func boxerOr(program string) string {
	if native {
		return program
	}
	return boxer
}
