package launcher

import (
	"slices"
	"strconv"
	"strings"
)

// ownPIDs are the environment variables in which a service manager stores the pid of the
// process that it starts. Programs compare them with getpid(2), so that a service's child
// does not take them for its own (sd_listen_fds(3), sd_watchdog_enabled(3),
// systemd.exec(5)).
var ownPIDs = []string{"LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"}

// supervisorOnly are variables that identify the process in another way. Programs work
// without them.
var supervisorOnly = []string{"LISTEN_PIDFDID"}

// notifySocket is the environment variable with the socket on which a service reports its
// state to its manager (sd_notify(3)).
const notifySocket = "NOTIFY_SOCKET"

// programEnv returns the program's environment, made from the supervisor's. If a service
// manager started the supervisor, the program takes the supervisor's place. own are the
// names of the variables that must get the program's pid; env does not have them. notify
// is the socket for sd_notify(3); empty: the variable stays.
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

// withoutSecrets returns an environment without a join URL. The program is on the network
// already, and its children and its output must not have the token. @FILE stays, because
// it is no secret.
func withoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(s string) bool {
		value, ok := strings.CutPrefix(s, joinVariable+"=")
		return ok && value != "" && !strings.HasPrefix(value, "@")
	})
}
