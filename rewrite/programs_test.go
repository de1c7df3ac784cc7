package rewrite

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// allNetwork takes every call about sockets' addresses.
func allNetwork() (rules []Rule) {
	for _, nr := range []uintptr{unix.SYS_SOCKET, unix.SYS_BIND, unix.SYS_CONNECT,
		unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_LISTEN,
		unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME, unix.SYS_SETSOCKOPT,
		unix.SYS_GETSOCKOPT, unix.SYS_UNAME,
		unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG} {
		rules = append(rules, Rule{Nr: nr})
	}
	return rules
}

// TestPrograms runs programs of many kinds, whose calls all go on to the kernel.
func TestPrograms(t *testing.T) {
	var mu sync.Mutex
	seen := make(map[uintptr]int)
	var n atomic.Int64
	l := newLab(t, allNetwork(), func(c *Call) {
		mu.Lock()
		seen[c.Nr()]++
		mu.Unlock()
		n.Add(1)
		c.Continue()
	})
	const connect = `import socket,threading
l=socket.create_server(("127.0.0.1",0))
def serve():
    c,_=l.accept(); c.sendall(c.recv(9)); c.close()
t=threading.Thread(target=serve); t.start()
c=socket.create_connection(l.getsockname()); c.sendall(b"echo"); print(c.recv(9).decode()); t.join()`
	for _, test := range []struct {
		name string
		argv []string
		want string
	}{
		{"bash with pipes", []string{"bash", "-c", "echo x y | tr x z | cat; uname -s"},
			"z y\nLinux"},
		{"environment", []string{"env", "-i", "A=b", "/usr/bin/env"}, "A=b"},
		{"own file", []string{"readlink", "/proc/self/exe"}, "/usr/bin/readlink"},
		{"python", []string{"/usr/bin/python3", "-c", connect}, "echo"},
		{"python subprocess", []string{"/usr/bin/python3", "-c", `import subprocess; print(subprocess.run(["sh","-c","echo $0 hi"],capture_output=True).stdout)`}, `b'sh hi\n'`},
		{"node", []string{"node", "-e", `console.log(require("child_process").execSync("echo child").toString().trim())`}, "child"},
		{"perl", []string{"perl", "-e", `system("echo in perl"); exec("echo", "done")`}, "in perl\ndone"},
		{"java", []string{"java", "-version"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := exec.LookPath(test.argv[0]); err != nil {
				t.Skip(err)
			}
			got := l.run(t, test.argv...)
			if test.want != "" && got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	t.Log(n.Load(), seen)
}

// TestCompiled runs one program as compilers make it: static and dynamic, with glibc,
// musl and Go.
func TestCompiled(t *testing.T) {
	var n atomic.Int64
	l := newLab(t, allNetwork(), func(c *Call) {
		n.Add(1)
		c.Continue()
	})
	dir := t.TempDir()
	for _, test := range []struct {
		name  string
		build []string
	}{
		{"glibc", []string{"gcc", "-O1", "-pthread", "testdata/echo.c"}},
		{"glibc static", []string{"gcc", "-O1", "-static", "-pthread", "testdata/echo.c"}},
		{"glibc static-pie", []string{"gcc", "-O1", "-static-pie", "-pthread", "testdata/echo.c"}},
		{"glibc no-pie", []string{"gcc", "-O1", "-no-pie", "-pthread", "testdata/echo.c"}},
		{"musl", []string{"musl-gcc", "-O1", "-pthread", "testdata/echo.c"}},
		{"musl static", []string{"musl-gcc", "-O1", "-static", "-pthread", "testdata/echo.c"}},
		{"Go", []string{"go", "build", "testdata/echo.go"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := exec.LookPath(test.build[0]); err != nil {
				t.Skip(err)
			}
			path := filepath.Join(dir, strings.ReplaceAll(test.name, " ", "-"))
			last := len(test.build) - 1
			args := append(slices.Clone(test.build[1:last]), "-o", path, test.build[last])
			cmd := exec.Command(test.build[0], args...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			before := n.Load()
			if got, want := l.run(t, path), "50 echoes; child: "+path; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			// At least socket and connect of each client, accept for each.
			if got := n.Load() - before; got < 150 {
				t.Errorf("%d calls were taken, want at least 150", got)
			}
		})
	}
}
