package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// A terminal is a program with a pseudo-terminal (pty(7)) as its controlling one.
type terminal struct {
	*proctest.Test
	t      *testing.T
	master *os.File
	screen *proctest.Output
}

// onTerminal starts cmd as the leader of a session with a terminal of its own.
func onTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, slave := openPty(t)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	screen := proctest.NewOutput()
	p := &terminal{proctest.ForTest(t, "on a terminal", cmd), t, master, screen}
	slave.Close()
	read := make(chan struct{})
	go func() {
		defer close(read)
		// ends with EIO when the last program has closed the other side
		_, _ = io.Copy(screen, master)
		screen.End()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen:\n%s", screen.Tail())
		}
		master.Close()
		<-read
	})
	return p
}

func openPty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	// non-blocking, so that Close ends a read
	master = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// resize changes the size of the window.
func (p *terminal) resize(size unix.Winsize) {
	p.t.Helper()
	conn, err := p.master.SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	err = conn.Control(func(fd uintptr) {
		if err := unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &size); err != nil {
			p.t.Error(err)
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// keys types.
func (p *terminal) keys(text string) {
	p.t.Helper()
	if _, err := p.master.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// sees waits for a line on the screen.
func (p *terminal) sees(pattern string) []string {
	p.t.Helper()
	match, err := p.screen.Within(proctest.Patience, regexp.MustCompile("(?m)"+pattern))
	if err != nil {
		p.t.Fatalf("%q is not on the screen: %v", pattern, err)
	}
	return match
}

const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"
)

func TestTerminal(t *testing.T) {
	_, app := pair(t, "db", "app")
	report := func(t *testing.T) (p *terminal, file string) {
		file = filepath.Join(tempDir(t), "signals")
		p = onTerminal(t, app.with(t).command("/usr/bin/python3",
			script(t, "python/signals.py"), file))
		p.sees(`^ready`)
		return p, file
	}
	t.Run("is the program's", func(t *testing.T) {
		p := onTerminal(t, app.with(t).command("sh", "-c", `tty; ps -o tpgid=,pgid= -p $$; test -t 0 -a -t 1 -a -t 2 && echo all; read line; echo "read $line"`))
		p.sees(`^/dev/pts/\d+`)
		if m := p.sees(`^ *(\d+) +(\d+)`); m[1] != m[2] {
			t.Errorf("the terminal's process group is %s, the program's %s", m[1], m[2])
		}
		p.sees(`^all`)
		p.keys("typed\r")
		p.sees(`^read typed`)
		if status := p.Wait(proctest.Patience); status != 0 {
			t.Errorf("status %d", status)
		}
	})
	t.Run("Ctrl-C", func(t *testing.T) {
		p, file := report(t)
		p.keys(ctrlC)
		p.sees(`got INT`)
		p.keys(ctrlC)
		p.sees(`got INT`)
		p.Signal(syscall.SIGTERM)
		if status := p.Wait(proctest.Patience); status != 3 {
			t.Errorf("status %d, want 3", status)
		}
		if got := read(t, file); got != "got INT\ngot INT\ngot TERM\n" { // each once
			t.Errorf("the program got\n%s", got)
		}
	})
	t.Run("Ctrl-C ends", func(t *testing.T) {
		p := onTerminal(t, app.with(t).command("sh", "-c", "echo ready; exec sleep 1000"))
		p.sees(`^ready`)
		p.keys(ctrlC)
		if status := p.Wait(proctest.Patience); status != 128+2 {
			t.Errorf("status %d, want 130", status)
		}
	})
	t.Run("SIGHUP", func(t *testing.T) {
		p, _ := report(t)
		p.Signal(syscall.SIGHUP)
		if status := p.Wait(proctest.Patience); status != 4 {
			t.Errorf("status %d, want 4", status)
		}
	})
	t.Run("SIGHUP under nohup", func(t *testing.T) {
		// What is ignored at the start, the program may want all the same.
		file := filepath.Join(tempDir(t), "signals")
		command := []string{"-c", `trap "" HUP; exec "$@"`, "sh"}
		if !native {
			command = append(command, boxer, "run", "--name", app.name, "--")
		}
		cmd := app.host.Command(context.Background(), "sh",
			append(command, "/usr/bin/python3", script(t, "python/signals.py"), file)...)
		cmd.Env = append(os.Environ(), "BOXER_JOIN="+app.url)
		p := onTerminal(t, cmd)
		p.sees(`^ready`)
		p.Signal(syscall.SIGHUP)
		if status := p.Wait(proctest.Patience); status != 4 {
			t.Errorf("status %d, want 4", status)
		}
	})
	t.Run("SIGUSR1", func(t *testing.T) {
		p, _ := report(t)
		p.Signal(syscall.SIGUSR1)
		p.sees(`got USR1`)
	})
	t.Run("hang-up", func(t *testing.T) {
		p, file := report(t)
		p.master.Close()
		if status := p.Wait(proctest.StopPatience); status != 4 {
			t.Errorf("status %d, want 4", status)
		}
		if got := read(t, file); !strings.HasPrefix(got, "got HUP\n") {
			t.Errorf("the program got %q", got)
		}
	})
	t.Run("window size", func(t *testing.T) {
		p, _ := report(t)
		for _, size := range []unix.Winsize{{Row: 33, Col: 111}, {Row: 20, Col: 70}} {
			p.resize(size)
			p.sees(`got WINCH`)
			p.sees(fmt.Sprintf(`^%d %d\r?$`, size.Row, size.Col))
		}
	})
	t.Run("job control", func(t *testing.T) {
		// The shell is outside; what it starts is the node.
		file := filepath.Join(tempDir(t), "signals")
		command := []string{"/usr/bin/python3", script(t, "python/signals.py"), file}
		if !native {
			command = append([]string{boxer, "run", "--name", app.name, "--"}, command...)
		}
		shell := app.host.Command(context.Background(), "bash", "--noprofile", "--norc", "-i")
		shell.Env = append(os.Environ(), "PS1=prompt> ", "TERM=dumb",
			"BOXER_JOIN="+app.url)
		p := onTerminal(t, shell)
		p.sees(`prompt> `)
		p.keys(strings.Join(command, " ") + "\r")
		p.sees(`^ready`)
		for range 2 {
			p.keys(ctrlZ)
			p.sees(`Stopped`)
			p.sees(`prompt> `)
			p.keys("fg\r")
			p.sees(`got CONT`)
		}
		p.keys(ctrlC)
		p.sees(`got INT`)
		p.keys(ctrlZ)
		p.sees(`prompt> `)
		p.keys("kill %1; fg\r") // SIGTERM, to the job
		p.sees(`prompt> `)
		p.keys("echo status $?\r")
		if m := p.sees(`^status (\d+)`); m[1] != "3" {
			t.Errorf("the job's status is %s, want 3", m[1])
		}
		p.keys("exit\r")
		p.Wait(proctest.Patience)
	})
}

// TestPipes has no terminal: bytes go in and come out, and the end of input is seen.
func TestPipes(t *testing.T) {
	_, app := pair(t, "db", "app")
	p := app.start("cat")
	p.Say("a line")
	p.Expect(`^a line$`)
	p.Stdin.Close()
	if status := p.Wait(proctest.Patience); status != 0 {
		t.Errorf("cat: status %d", status)
	}
	path := filepath.Join(tempDir(t), "file")
	randomFile(t, path, 20<<20)
	want, _ := checksum(t, path)
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := app.command("sha256sum")
	cmd.Stdin = file
	p = proctest.ForTest(t, "sha256sum", cmd)
	p.Expect(`^` + want + ` `)
	p = app.start("sh", "-c", "echo out; echo err >&2; exit 5")
	if status := p.Wait(proctest.Patience); status != 5 || p.Out.String() != "out\n" ||
		p.Err.String() != "err\n" {
		t.Errorf("status %d, standard output %q, standard error %q", status, p.Out, p.Err)
	}
}
