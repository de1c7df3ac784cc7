package launcher

import (
	"slices"
	"strconv"
	"strings"
)

// ownPIDs are the variables in which a service manager tells the process that it
// starts its pid. Programs compare them with getpid(2), so that a child of a service
// does not take them for its own (sd_listen_fds(3), sd_watchdog_enabled(3),
// systemd.exec(5)).
var ownPIDs = []string{"LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"}

// supervisorOnly identify that process in another way. Programs do without them.
var supervisorOnly = []string{"LISTEN_PIDFDID"}

// notifySocket is where a service tells its manager of its state (sd_notify(3)).
const notifySocket = "NOTIFY_SOCKET"

// programEnv makes the program's environment of the supervisor's: where that was
// started by a service manager, the program is what the manager meant to start. own
// names the variables that are to have the program's pid, which env lacks. notify
// is the socket for sd_notify(3), empty: as it is.
func programEnv(environ []string, supervisor int, notify string) (env, own []string) {
	pid := strconv.Itoa(supervisor)
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		switch {
		case slices.Contains(ownPIDs, name) && value == pid:
			own = append(own, name)
		case slices.Contains(supervisorOnly, name):
		case name == notifySocket && notify != "":
			env = append(env, notifySocket+"="+notify)
		default:
			env = append(env, v)
		}
	}
	return env, own
}

// joinVariable is the environment variable with the join URL, or @FILE.
const joinVariable = "BOXER_JOIN"

// withoutSecrets returns an environment for a program, without a join URL. The program is
// on the network already, and what it starts or shows must not hold the token. @FILE
// stays: it is no secret.
func withoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(s string) bool {
		value, ok := strings.CutPrefix(s, joinVariable+"=")
		return ok && value != "" && !strings.HasPrefix(value, "@")
	})
}
