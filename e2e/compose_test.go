package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A composed is a project of a test, in a directory with a compose file.
type composed struct {
	t   *testing.T
	dir string
	env []string
}

// compose makes a project. At the end of the test nothing of it may be left.
func compose(t *testing.T, file string) *composed {
	t.Helper()
	needBoxer(t)
	if _, err := os.Stat(boxer + "-compose"); err != nil {
		t.Fatalf("%v: make build makes it", err)
	}
	run, err := os.MkdirTemp("", "bx") // short, as names of Unix sockets have to be
	if err != nil {
		t.Fatal(err)
	}
	home := tempDir(t)
	c := &composed{t: t, dir: filepath.Join(tempDir(t), "shop"),
		env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home,
			"XDG_RUNTIME_DIR=" + run}}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c.write(file)
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(run, "boxer/projects/shop/supervisor.log"))
			t.Logf("supervisor: %s", log)
			_, out, _ := c.run("logs", "--tail", "20", "--project-name", "shop")
			t.Logf("logs: %s", out)
		}
		c.run("down", "--timeout", "1")
		if left, _ := filepath.Glob(filepath.Join(run, "boxer", "*")); len(left) > 0 {
			t.Errorf("files are left: %q", left)
		}
		c.awaitNone()
		os.RemoveAll(run)
	})
	return c
}

// awaitNone waits until no process of the project is left.
func (c *composed) awaitNone() {
	var left []string
	for end := time.Now().Add(proctest.Patience); time.Now().Before(end); {
		left = nil
		all, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range all {
			env, _ := os.ReadFile(dir + "/environ")
			if bytes.Contains(env, []byte(c.env[2])) {
				cmdline, _ := os.ReadFile(dir + "/cmdline")
				left = append(left, strings.ReplaceAll(string(cmdline), "\x00", " "))
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Errorf("processes are left: %q", left)
}

func (c *composed) write(file string) {
	write(c.t, filepath.Join(c.dir, "compose.yaml"), file)
}

func (c *composed) command(args ...string) *exec.Cmd {
	cmd := exec.Command(boxer, args...)
	cmd.Dir, cmd.Env = c.dir, c.env
	return cmd
}

// run runs boxer and returns its status and what it wrote.
func (c *composed) run(args ...string) (status int, stdout, stderr string) {
	c.t.Helper()
	cmd := c.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	timer := time.AfterFunc(2*proctest.Patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !timer.Stop() {
		c.t.Fatalf("boxer %v hangs: %s %s", args, &out, &errs)
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// ok runs boxer, which has to end with status 0, and returns its output.
func (c *composed) ok(args ...string) string {
	c.t.Helper()
	status, out, errs := c.run(args...)
	if status != 0 {
		c.t.Fatalf("boxer %v: status %d: %s %s", args, status, out, errs)
	}
	return out
}

// A listed is what boxer ps says of an instance.
type listed struct {
	Name, State, Health, Addr string
	ExitCode, Restarts        int
	PID, ProgramPid           int
}

func (c *composed) ps() map[string]listed {
	c.t.Helper()
	all := map[string]listed{}
	for line := range strings.Lines(c.ok("ps", "--all", "--format", "json")) {
		var l listed
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			c.t.Fatal(err)
		}
		all[l.Name] = l
	}
	return all
}

// await waits until boxer ps shows what is wanted.
func (c *composed) await(what string, ok func(map[string]listed) bool) {
	c.t.Helper()
	var all map[string]listed
	for end := time.Now().Add(proctest.Patience); time.Now().Before(end); {
		if status, _, _ := c.run("ps"); status == 0 { // boxer up has made the project
			if all = c.ps(); ok(all) {
				return
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("waited for %s: %+v", what, all)
}

const shop = `
services:
  web:
    command: [python3, -c, "import http.server as h; print('password', open('/run/secrets/pw').read(), open('/etc/shop/web.conf').read(), flush=True); h.test(h.SimpleHTTPRequestHandler, port=80)"]
    working_dir: /srv/goods
    secrets: [pw]
    configs: [{source: conf, target: /etc/shop/web.conf}]
    volumes: ["./goods:/srv/goods:ro", "kept:/var/lib/shop"]
    tmpfs: [/var/cache/shop]
    depends_on: {init: {condition: service_completed_successfully}}
    healthcheck:
      test: python3 -c 'import urllib.request as u; u.urlopen("http://localhost/price").read()'
      interval: 200ms
    cap_add: [NET_ADMIN]
    logging: {driver: syslog}
  init:
    command: sh -c "echo initialising >/dev/stderr"
  client:
    command: sh -c "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://web/price\").read().decode())'; echo $$GREETING $$FROM_FILE; exit 3"
    environment: {GREETING: "${GREETING:-hello}"}
    env_file: client.env
    depends_on: {web: {condition: service_healthy}}
  later:
    command: sleep 1000
    profiles: [later]
secrets:
  pw: {environment: PASSWORD}
configs:
  conf: {content: "limit=3"}
volumes:
  kept:
`

// TestComposeUp starts services that depend on each other, in their order, with secrets,
// configs, volumes and health checks, and ends with the exit code of one of them.
func TestComposeUp(t *testing.T) {
	c := compose(t, shop)
	c.env = append(c.env, "PASSWORD=geheim", "GREETING=moin")
	write(t, filepath.Join(c.dir, "client.env"), "FROM_FILE=file\n")
	if err := os.Mkdir(filepath.Join(c.dir, "goods"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.dir, "goods/price"), "7 EUR")
	status, out, errs := c.run("up", "--exit-code-from", "client")
	if status != 3 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"init-1    | initialising\n",
		"web-1     | password geheim limit=3\n", "client-1  | 7 EUR\n",
		"client-1  | moin file\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	for _, want := range []string{"cap_add has no effect here (service web)",
		"logging has no effect here (service web)", "client-1 exited with code 3"} {
		if strings.Count(errs, want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, errs)
		}
	}
	if all := c.ps(); all["web-1"].State != "exited" || all["client-1"].ExitCode != 3 ||
		len(all) != 3 {
		t.Errorf("afterwards %+v", all)
	}
	for _, path := range []string{"/run/secrets/pw", "/etc/shop", "/srv/goods",
		"/var/lib/shop"} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is there outside", path)
		}
	}
	c.ok("up", "--detach", "--wait")
	c.await("the end of client", func(all map[string]listed) bool {
		return all["client-1"].State == "exited"
	})
	if got := c.ok("exec", "web", "sh", "-c",
		"hostname; cat /run/secrets/pw; ls -d /var/cache/shop"); got !=
		"web\ngeheim/var/cache/shop\n" {
		t.Errorf("exec: %q", got)
	}
	if status, _, errs := c.run("exec", "web", "sh", "-c", "echo x >price"); status != 2 {
		t.Errorf("a read-only volume: status %d, %s", status, errs)
	}
	if status, _, errs := c.run("exec", "client", "true"); status != 125 ||
		!strings.Contains(errs, "does not run") {
		t.Errorf("exec in what has ended: %d, %s", status, errs)
	}
	if got := c.ok("logs", "--tail", "1", "client"); got != "client-1  | moin file\n" {
		t.Errorf("logs: %q", got)
	}
	if got := c.ok("config", "--services"); got != "client\ninit\nweb\n" {
		t.Errorf("config: %q", got)
	}
	c.ok("down")
	c.awaitNone()
}

// TestComposeInterrupted presses Ctrl-C once, and again.
func TestComposeInterrupted(t *testing.T) {
	c := compose(t, `
services:
  polite: {command: [sh, -c, "trap 'echo ends; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]}
  deaf:
    command: [sh, -c, "trap '' INT TERM; echo ready; while :; do sleep 0.05; done"]
    stop_grace_period: 1h
  asked: {command: [sh, -c, "trap 'echo asked; exit 0' USR2; echo ready; while :; do sleep 0.05; done"], stop_signal: SIGUSR2}
`)
	up := proctest.ForTest(t, "up", c.command("up"))
	for range 3 {
		up.Expect(`ready`)
	}
	c.await("three", func(all map[string]listed) bool {
		return len(all) == 3 && all["deaf-1"].State == "running"
	})
	up.Signal(unix.SIGINT)
	up.Expect(`polite-1  \| ends|asked-1   \| asked`)
	up.Expect(`polite-1  \| ends|asked-1   \| asked`)
	// They write before they end, and the second signal kills what has not ended.
	c.await("the end of two", func(all map[string]listed) bool {
		return all["polite-1"].State == "exited" && all["asked-1"].State == "exited"
	})
	if all := c.ps(); all["deaf-1"].State != "running" {
		t.Errorf("after one: %+v", all)
	}
	up.Signal(unix.SIGINT)
	if status := up.Wait(proctest.Patience); status != 130 {
		t.Errorf("status %d", status)
	}
	if all := c.ps(); all["deaf-1"].ExitCode != 137 || all["polite-1"].ExitCode != 0 {
		t.Errorf("afterwards: %+v", all)
	}
}

const steady = `
services:
  a: {command: sleep 1000, restart: always}
  b: {command: sleep 1000, depends_on: [a]}
`

// TestComposeCrash kills boxer up, the supervisor, and boxer run of a service.
func TestComposeCrash(t *testing.T) {
	c := compose(t, steady)
	up := proctest.ForTest(t, "up", c.command("up"))
	c.await("both", func(all map[string]listed) bool {
		return all["a-1"].State == "running" && all["b-1"].State == "running"
	})
	before := c.ps()
	up.Kill()
	c.ok("up", "--detach")
	if after := c.ps(); after["a-1"] != before["a-1"] || after["b-1"] != before["b-1"] {
		t.Errorf("after a killed boxer up %+v, before %+v", after, before)
	}
	// boxer run of a service that restarts
	if err := unix.Kill(before["a-1"].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	c.await("another a", func(all map[string]listed) bool {
		return all["a-1"].State == "running" && all["a-1"].PID != before["a-1"].PID
	})
	if now := c.ps()["a-1"]; now.Restarts != 1 || now.ExitCode != 137 {
		t.Errorf("restarted: %+v", now)
	}
	// the supervisor: its services end with it
	c.kill("project-supervisor")
	c.await("the end of all", func(all map[string]listed) bool {
		return all["a-1"].State == "exited" && all["b-1"].State == "exited"
	})
	if status, _, errs := c.run("restart"); status != 125 ||
		!strings.Contains(errs, "boxer up starts it") {
		t.Errorf("restart without a supervisor: %d, %s", status, errs)
	}
	c.ok("up", "--detach")
	c.kill("coordinator")
	c.ok("exec", "b", "true") // does not need it
	for end := time.Now().Add(proctest.Patience); len(c.processes("coordinator")) == 0; {
		if time.Now().After(end) {
			t.Fatal("the coordinator is not started again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.ok("restart", "b")
	if all := c.ps(); all["b-1"].State != "running" {
		t.Errorf("after the end of the coordinator: %+v", all)
	}
	c.kill("project-supervisor")
	c.ok("down")
}

// processes returns the processes of boxer with that argument.
func (c *composed) processes(argument string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		args := strings.Split(string(cmdline), "\x00")
		if len(args) > 1 && args[0] == "boxer" && args[1] == argument &&
			bytes.Contains(env, []byte(c.env[2])) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill kills them.
func (c *composed) kill(argument string) {
	c.t.Helper()
	pids := c.processes(argument)
	if len(pids) != 1 {
		c.t.Fatalf("processes boxer %s: %v", argument, pids)
	}
	if err := unix.Kill(pids[0], unix.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
}

// TestComposeChange changes the file: what has not changed stays.
func TestComposeChange(t *testing.T) {
	c := compose(t, steady)
	c.ok("up", "--detach")
	before := c.ps()
	c.write(strings.Replace(steady, "b: {command: sleep 1000", "b: {command: sleep 2000", 1))
	c.ok("up", "--detach", "--scale", "a=3")
	after := c.ps()
	if after["a-1"] != before["a-1"] || after["b-1"].PID == before["b-1"].PID ||
		after["a-3"].State != "running" || after["b-1"].State != "running" {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	c.write("services: {a: {command: sleep 1000}}\n")
	if _, _, errs := c.run("up", "--detach"); !strings.Contains(errs, "b-1") ||
		!strings.Contains(errs, "--remove-orphans") {
		t.Errorf("orphans are not named: %s", errs)
	}
	c.ok("up", "--detach", "--remove-orphans")
	if after := c.ps(); len(after) != 1 {
		t.Errorf("with orphans removed: %+v", after)
	}
	c.ok("stop")
	if after := c.ps(); after["a-1"].State != "exited" {
		t.Errorf("stopped: %+v", after)
	}
	c.ok("start")
	if after := c.ps(); after["a-1"].State != "running" {
		t.Errorf("started: %+v", after)
	}
}

// TestComposeFailures are files and programs that do not work.
func TestComposeFailures(t *testing.T) {
	c := compose(t, steady)
	for _, tc := range []struct{ file, want string }{
		{"services: {a: {command: [no-such-program]}}",
			"no-such-program: command not found"},
		{"services: {a: {image: 'layout:/nowhere'}}", "image layout:/nowhere"},
		{"services: {a: {build: .}}", "boxer builds no images"},
		{"services: {a: {command: 'true', secrets: [nosuch]}}",
			"undefined secret nosuch"},
		{"services: {a: {command: 'true', x-boxer: {hosts: local}}}", `unknown field "hosts"`},
		{"services: {a: {command: 'true', x-boxer: {host: 'moon:1'}}}", `host "moon:1": use local`},
		{"services: {a: {command: 'true', depends_on: [b]}}", "b"},
		{"services: {a: {command: 'true', depends_on: [b]}, b: {command: 'true', depends_on: [a]}}", "a"},
		{"services: {a: {command: 'true', depends_on: {b: {condition: service_healthy}}}, b: {command: sleep 9}}",
			"which has no healthcheck"},
		{"services: {a: {command: 'true', depends_on: {b: {condition: service_completed_successfully}}}, b: {command: 'false'}}",
			"b-1 has ended with exit code 1"},
		{"services: {a: {command: 'true', depends_on: {b: {condition: service_healthy}}}, b: {command: sleep 9, healthcheck: {test: 'false', interval: 20ms, retries: 2}}}",
			"b-1 is unhealthy"},
		{"services: {a: {command: [sh, '{{.Index']}}", "unclosed action"},
		{"services: {a: {command: [sh, '{{.ID}}']}}", "the node is not known yet"},
		{"services: {a: {command: 'true', stop_signal: SIGNOSUCH}}", "SIGNOSUCH"},
		{"services: {a: {command: 'true', user: nobody-has-this-name}}",
			"nobody-has-this-name"},
	} {
		c.write(tc.file)
		status, _, errs := c.run("up", "--detach")
		if status != 1 || !strings.Contains(errs, tc.want) {
			t.Errorf("%s\nstatus %d: %s", tc.file, status, errs)
		}
		c.run("down", "--timeout", "1")
	}
	c.write(`services: {a: {command: "sh -c 'exit 4'", restart: "on-failure:2", deploy: {}}}`)
	if status, _, errs := c.run("up"); status != 4 ||
		strings.Count(errs, "exited with code 4") != 3 {
		t.Errorf("on-failure:2: status %d: %s", status, errs)
	}
	c.ok("down")
	os.Remove(filepath.Join(c.dir, "compose.yaml"))
	if status, _, errs := c.run("up"); status != 1 ||
		!strings.Contains(errs, "no compose file") {
		t.Errorf("without a file: status %d: %s", status, errs)
	}
	if status, _, errs := c.run("restart"); status != 125 ||
		!strings.Contains(errs, "no project from this directory") {
		t.Errorf("without a project: status %d: %s", status, errs)
	}
}

// TestComposeTemplates gives instances numbers and names.
func TestComposeTemplates(t *testing.T) {
	c := compose(t, `
services:
  zk:
    command: [sh, -c, "echo I am {{.Index}} of {{.Count}}, $$(hostname), $$MYID, {{range seq .Count}}zk-{{.}} {{end}}and $$1", sh, "{{.Other}}"]
    environment: {MYID: "{{add .Index 10}}"}
    scale: 2
    x-boxer: {name: "zk-{{.Index}}"}
`)
	out := c.ok("up")
	for i := range 2 {
		want := fmt.Sprintf("zk-%d  | I am %[1]d of 2, zk-%[1]d, 1%[1]d, zk-1 zk-2 and {{.Other}}\n", i+1)
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 {
		t.Errorf("%q", slices.Sorted(slices.Values(lines)))
	}
}

// TestComposeImage runs the program of an image, whose files are its root directory, with
// a volume, a secret and a health check that is in the image.
func TestComposeImage(t *testing.T) {
	c := compose(t, `
services:
  app:
    image: layout:./image
    entrypoint: [/usr/bin/boxer, coordinator, --listen, "127.0.0.1:0", --state, /var/task/state]
    healthcheck: {test: [CMD, /usr/bin/boxer, version], interval: 100ms}
    volumes: ["./data:/var/task"]
    secrets: [pw]
secrets:
  pw: {environment: HOME}
`)
	data := filepath.Join(c.dir, "data")
	if _, err := os.Stat(boxer + "-aws"); err != nil {
		t.Fatal(err)
	}
	c.ok("lambda", "image", "--from", "scratch", "--out",
		"layout:"+filepath.Join(c.dir, "image"))
	c.ok("up", "--detach", "--wait")
	if all := c.ps(); all["app-1"].Health != "healthy" {
		t.Errorf("%+v", all)
	}
	if _, err := os.Stat(filepath.Join(data, "state")); err != nil {
		t.Errorf("the volume: %v", err)
	}
	root := fmt.Sprintf("/proc/%d/root", c.ps()["app-1"].ProgramPid)
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if slices.Contains(names, "home") || !slices.Contains(names, "var") {
		t.Errorf("the root directory has %q", names)
	}
	c.ok("down")
}

// TestComposeUser runs programs as another user.
func TestComposeUser(t *testing.T) {
	natlab.NeedUsers(t)
	c := compose(t, `
services:
  a: {command: sh -c "id -u; id -g; python3 -m http.server 80", user: "7:8", working_dir: /}
  b:
    command: sh -c "id -un; python3 -c 'import urllib.request as u; print(u.urlopen(\"http://a/\").status)'"
    user: daemon
    working_dir: /
    depends_on: [a]
    restart: on-failure
`)
	c.ok("up", "--detach")
	c.await("the end of b", func(all map[string]listed) bool {
		return all["b-1"].State == "exited"
	})
	out := c.ok("logs")
	for _, want := range []string{"a-1  | 7\n", "a-1  | 8\n", "b-1  | daemon\n",
		"b-1  | 200\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}
