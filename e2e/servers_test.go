package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestRsync copies a tree to a daemon and back. The daemon lets in whose address has,
// backwards, the name app.
func TestRsync(t *testing.T) {
	natlab.NeedCommands(t, "rsync")
	files, app := pair(t, "files", "app")
	root, from, back := tempDir(t), tempDir(t), tempDir(t)
	for i := range 50 {
		randomFile(t, filepath.Join(from, fmt.Sprint(i)), int64(i)*10_000)
	}
	config := filepath.Join(tempDir(t), "rsyncd.conf")
	write(t, config, fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[tree]\nhosts allow = app\npath = %s\nread only = no\n", os.Getuid(), os.Getgid(), root))
	files.start("rsync", "--daemon", "--no-detach", "--log-file=/dev/stderr",
		"--config="+config)
	app.reach("files:873")
	app.run("rsync", "-a", from+"/", "rsync://files/tree/")
	app.run("rsync", "-a", "rsync://files/tree/", back+"/")
	for i := range 50 {
		want, _ := checksum(t, filepath.Join(from, fmt.Sprint(i)))
		if got, _ := checksum(t, filepath.Join(back, fmt.Sprint(i))); got != want {
			t.Errorf("file %d is another", i)
		}
	}
}

// TestMariaDB has clients with connections of their own, and one that asks the server who
// is connected.
func TestMariaDB(t *testing.T) {
	natlab.NeedUsers(t)
	natlab.NeedCommands(t, "mariadbd", "mariadb-install-db", "mariadb", "mariadb-slap")
	db, app := pair(t, "db", "app")
	dir := tempDir(t)
	chown(t, dir, "mysql")
	server := db.as("mysql")
	data := filepath.Join(dir, "data")
	install := server.host.Command(t.Context(), "mariadb-install-db", "--no-defaults",
		"--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, out)
	}
	init := filepath.Join(dir, "init.sql")
	// by name: the server looks up who connects
	write(t, init, "create user app@'app';\ngrant all on *.* to app@'app';\n")
	p := server.start("mariadbd", "--no-defaults", "--datadir="+data,
		"--socket="+filepath.Join(dir, "socket"),
		"--pid-file="+filepath.Join(dir, "pid"), "--bind-address=0.0.0.0",
		"--init-file="+init, "--innodb-flush-log-at-trx-commit=0")
	p.ExpectLog(`ready for connections`)
	out := app.run("mariadb", "--no-defaults", "-h", "db", "-u", "app", "-N", "-e",
		"select user(); select host from information_schema.processlist where user = 'app'")
	lines := strings.Fields(out)
	if len(lines) != 2 || lines[0] != "app@app" || !strings.HasPrefix(lines[1], "app:") {
		t.Errorf("the server knows its client as %q", out)
	}
	out = app.runFor(2*proctest.Patience, "mariadb-slap", "--no-defaults", "-h", "db",
		"-u", "app", "--auto-generate-sql",
		"--concurrency=20", "--number-of-queries="+choose("2000", "20000"),
		"--auto-generate-sql-load-type=mixed")
	if !strings.Contains(out, "Number of clients running queries: 20") {
		t.Error(out)
	}
}

// TestMQTT publishes to subscribers through mosquitto.
func TestMQTT(t *testing.T) {
	natlab.NeedCommands(t, "stdbuf", "mosquitto", "mosquitto_pub", "mosquitto_sub")
	broker, app := pair(t, "broker", "app")
	config := filepath.Join(tempDir(t), "mosquitto.conf")
	write(t, config, "listener 1883\nallow_anonymous true\nuser root\n")
	broker.start("mosquitto", "-c", config)
	app.reach("broker:1883")
	sub := app.named("sub").start("stdbuf", "-oL", "mosquitto_sub", "-h", "broker", "-t",
		"topic/#", "-q", "2", "-v", "-d")
	sub.Expect(`received SUBACK`)
	for i := range 3 {
		app.run("mosquitto_pub", "-h", "broker", "-q", "2", "-t",
			fmt.Sprintf("topic/%d", i), "-m", fmt.Sprintf("message %d", i))
		sub.Expect(fmt.Sprintf(`^topic/%d message %d$`, i, i))
	}
}

// TestGit clones from a daemon and pushes to it.
func TestGit(t *testing.T) {
	natlab.NeedCommands(t, "git")
	repo, app := pair(t, "repo", "app")
	root, work := tempDir(t), tempDir(t)
	repo.start("git", "init", "--bare", "-q",
		filepath.Join(root, "project")).Wait(proctest.Patience)
	repo.start("git", "daemon", "--base-path="+root, "--export-all",
		"--enable=receive-pack", "--reuseaddr", "--verbose")
	app.reach("repo:9418")
	randomFile(t, filepath.Join(work, "big"), 3<<20)
	app.run("sh", "-ec", `
		cd "$1"
		git init -q && git add big && git -c user.name=a -c user.email=a@b commit -qm first
		git push -q git://repo/project HEAD:refs/heads/main
		git clone -q -b main git://repo/project again
		cmp big again/big`, "sh", work)
}
