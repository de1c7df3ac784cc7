package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestOpenSSH runs sessions with OpenSSH's own sshd: it hands connections on by exec,
// drops root, changes its root directory, is not dumpable, and has a seccomp filter of
// its own.
func TestOpenSSH(t *testing.T) {
	natlab.NeedCommands(t, "/usr/sbin/sshd", "ssh", "sftp", "ssh-keygen")
	natlab.NeedUsers(t)
	hub, app := pair(t, "hub", "app")
	dir := tempDir(t)
	for _, name := range []string{"hostkey", "key"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f",
			filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	startSSHD(t, hub, dir)
	options := []string{"-i", filepath.Join(dir, "key"), "-o", "BatchMode=yes", "-o",
		"StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o",
		"IdentitiesOnly=yes"}
	ssh := func(app *function, command string, args ...string) string {
		app.t.Helper()
		return app.run(command, append(options[:len(options):len(options)], args...)...)
	}

	t.Run("command", func(t *testing.T) {
		app := app.with(t)
		out := ssh(app, "ssh", "root@hub",
			"hostname; echo $SSH_CONNECTION; head -c 3000000 /dev/zero | wc -c; exit 0")
		m := regexp.MustCompile(`^(\S+)\n(\S+) \d+ (\S+) 22\n3000000\n$`).FindStringSubmatch(out)
		if m == nil || !native && m[1] != "hub" {
			t.Fatalf("got %q", out)
		}
		app.inPrefix("SSH_CONNECTION", m[2], m[3])
		hub.isAddress("sshd's address", m[3])
	})
	t.Run("status", func(t *testing.T) {
		p := app.with(t).start("ssh", append(options[:len(options):len(options)],
			"root@hub", "exit 42")...)
		if status := p.Wait(proctest.Patience); status != 42 {
			t.Errorf("status %d, want 42", status)
		}
	})
	t.Run("another user, terminal", func(t *testing.T) {
		out := ssh(app.with(t), "ssh", "-tt", "postgres@hub", "id -un; tty; hostname")
		if !strings.HasPrefix(out, "postgres\r\n/dev/pts/") || !native &&
			!strings.Contains(out, "\r\nhub\r\n") {
			t.Errorf("got %q", out)
		}
	})
	t.Run("from within", func(t *testing.T) { // what a session starts is on the network, too
		out := ssh(app.with(t), "ssh", "postgres@hub", program(t, "probe")+" dial hub:22")
		if !strings.HasPrefix(out, "connected to ") {
			t.Errorf("got %q", out)
		}
	})
	t.Run("sftp", func(t *testing.T) {
		batch := filepath.Join(dir, "batch")
		randomFile(t, filepath.Join(dir, "file"), choose[int64](5<<20, 200<<20))
		write(t, batch, fmt.Sprintf("put %s/file %[1]s/there\nget %[1]s/there %[1]s/back\n", dir))
		ssh(app.with(t), "sftp", "-b", batch, "root@hub")
		want, _ := checksum(t, filepath.Join(dir, "file"))
		if got, size := checksum(t, filepath.Join(dir, "back")); got != want {
			t.Errorf("%d bytes with another checksum came back", size)
		}
	})
	t.Run("forwarding", func(t *testing.T) { // sshd connects, in its user's process
		app := app.with(t)
		app.echo()
		out := app.named("jump").run("sh", "-c", fmt.Sprintf(`ssh -f %s -o ExitOnForwardFailure=yes -L 8007:app:7 postgres@hub sleep 2
exec "$0" -c "$1"`, strings.Join(options, " ")), "/usr/bin/python3", `
import socket
c = socket.create_connection(("127.0.0.1", 8007), 10)
c.sendall(b"through hub")
print(c.recv(100).decode(), c.getpeername())`)
		if want := "through hub ('127.0.0.1', 8007)\n"; out != want {
			t.Errorf("got %q, want %q", out, want)
		}
	})
}

// startSSHD starts sshd with the keys of a directory and waits until it listens.
func startSSHD(t *testing.T, f *function, dir string) *proctest.Test {
	t.Helper()
	config := filepath.Join(dir, "sshd_config")
	write(t, config, fmt.Sprintf("HostKey %s/hostkey\nAuthorizedKeysFile %[1]s/key.pub\nStrictModes no\nPidFile none\nUsePAM yes\n"+
		"PasswordAuthentication no\nSubsystem sftp internal-sftp\n", dir))
	// Debian's unit has the directory made before.
	p := f.start("sh", "-c", `mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f "$0"`, config)
	p.ExpectLog(`^Server listening on 0\.0\.0\.0 port 22\.`)
	return p
}
