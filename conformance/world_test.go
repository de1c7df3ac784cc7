package conformance

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// patience bounds one run of a program, all its cases together.
const patience = 2 * time.Minute

// The two hosts, in either world, by the side of the programs that they run.
const (
	serverName = "hub"
	clientName = "app"
)

// nobodyAnswers is the resolv.conf of all hosts: nobody listens there, and programs know
// it at once.
const nobodyAnswers = "nameserver 127.0.0.1\n"

// A world is where a program's two sides run: bare, or under boxer.
type world struct {
	name  string
	hosts map[string]*natlab.Host
	url   string // boxed: of the network
}

// bareWorld has two hosts that are routed to each other and know each other's names.
func bareWorld(t *testing.T) *world {
	t.Helper()
	lab := natlab.ForTest(t)
	w := &world{name: "bare", hosts: map[string]*natlab.Host{}}
	names := "127.0.0.1 localhost\n"
	for _, name := range []string{serverName, clientName} {
		h, err := lab.Public(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		w.hosts[name] = h
		leaveInternet(t, h)
		six, err := h.AddIPv6(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names += fmt.Sprintf("%s %s\n%s %s\n", h.Addr(), name, six, name)
	}
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte(names), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, h := range w.hosts {
		err := h.Do(func() error { return unix.Mount(file, "/etc/hosts", "", unix.MS_BIND, "") })
		if err == nil {
			err = h.SetResolvConf(nobodyAnswers)
		}
		if err == nil {
			err = h.Do(setSysctls)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// setSysctls sets what a bare host's kernel does by default: boxed programs have ping
// sockets wherever they run, and learn of every closed port (icmp(7)).
func setSysctls() error {
	for name, value := range map[string]string{"ping_group_range": "0 2147483647",
		"icmp_ratelimit": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value),
			0o644); err != nil {
			return err
		}
	}
	return nil
}

// leaveInternet leaves a host only the way to the lab's other public hosts: no default
// route, which broadcasts and multicasts would take.
func leaveInternet(t *testing.T, h *natlab.Host) {
	t.Helper()
	const script = "ip route add 203.0.113.0/24 $(ip route show default | cut -d' ' -f2-) && ip route del default"
	if out, err := h.Command(t.Context(), "sh", "-c",
		script).CombinedOutput(); err != nil {
		t.Fatalf("routes of %s: %v\n%s", h.Name(), err, out)
	}
}

// boxedWorld has two hosts behind a NAT each, and a coordinator with these flags.
func boxedWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	if _, err := os.Stat(boxer); err != nil {
		t.Skipf("%v: run \"make build\", or name a boxer binary in BOXER", err)
	}
	lab := natlab.ForTest(t)
	w := &world{name: "boxed", hosts: map[string]*natlab.Host{}}
	public, err := lab.Public(t.Context(), "public")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{serverName, clientName} {
		if w.hosts[name], err = lab.NATed(t.Context(), name, natlab.NAT{}); err == nil {
			err = w.hosts[name].SetResolvConf(nobodyAnswers)
		}
		if err == nil { // the node's name is for the program to see, not the machine's
			err = w.hosts[name].Do(func() error { return unix.Sethostname([]byte("machine-of-" + name)) })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w.url = startCoordinator(t, public, flags...)
	return w
}

// oneHost is the boxed world w with both nodes on one host.
func (w *world) oneHost() *world {
	h := w.hosts[serverName]
	return &world{name: "one host", hosts: map[string]*natlab.Host{serverName: h,
		clientName: h}, url: w.url}
}

// startCoordinator returns the coordinator's join URL. It runs until the test ends.
func startCoordinator(t *testing.T, host *natlab.Host, flags ...string) string {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state")
	listen := netip.AddrPortFrom(host.Addr(), 7700).String()
	args := append([]string{"coordinator", "--listen", listen, "--state", state}, flags...)
	cmd := host.Command(context.Background(), boxer, args...)
	return proctest.ForTest(t, "coordinator", cmd).Expect(`^boxer://\S+$`)[0]
}

// other returns the name of the other host.
func other(name string) string {
	if name == serverName {
		return clientName
	}
	return serverName
}

// A start says how a program is started.
type start struct {
	path  string
	port  int
	under []string // a command that runs the program, boxed as it is
	// before is a command that runs boxer, or bare the program, on the server's host.
	before     []string
	interposer string // of boxer run
}

// command returns the command that runs one side of a program.
func (w *world) command(ctx context.Context, host, interposer string, before,
	argv []string) *exec.Cmd {
	if w.url != "" {
		run := []string{boxer, "run", "--name", host, "--wait-for", other(host)}
		if interposer != "" {
			run = append(run, "--interposer", interposer)
		}
		argv = slices.Concat(run, []string{"--"}, argv)
	}
	argv = append(slices.Clone(before), argv...)
	cmd := w.hosts[host].Command(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+w.url)
	return cmd
}

// play runs both sides of a program and returns what each of them printed, by side and
// case.
func (w *world) play(t *testing.T, s start) map[string]map[string][]string {
	t.Helper()
	dir, err := os.MkdirTemp(built, "meet-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	outputs := map[string]map[string][]string{}
	var mu sync.Mutex // guards outputs
	var sides sync.WaitGroup
	for side, host := range map[string]string{"server": serverName,
		"client": clientName} {
		argv := append(slices.Clone(s.under), s.path, side, dir, host, other(host),
			fmt.Sprint(s.port))
		if only := os.Getenv("CASE"); only != "" {
			argv = append(argv, only)
		}
		var before []string
		if side == "server" {
			before = s.before
		}
		cmd := w.command(ctx, host, s.interposer, before, argv)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		cmd.WaitDelay = 10 * time.Second
		sides.Go(func() {
			err := cmd.Run()
			if stderr.Len() > 0 {
				t.Logf("%s %s says:\n%s", w.name, side, stderr.String())
			}
			if err != nil {
				t.Errorf("%s %s: %v\n%s", w.name, side, err, stdout.String())
			}
			if *show {
				t.Logf("%s %s:\n%s", w.name, side, stdout.String())
			}
			mu.Lock()
			defer mu.Unlock()
			outputs[side] = split(normalise(stdout.String(), s.port))
		})
	}
	sides.Wait()
	return outputs
}
