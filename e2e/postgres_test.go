package e2e

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// postgres returns the path of one of PostgreSQL's programs, which Debian keeps out of
// PATH.
func postgres(t *testing.T, name string) string {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		natlab.NeedCommands(t, name) // says that it is missing
		return name
	}
	return found[len(found)-1]
}

// startPostgres starts a server as PostgreSQL's own user and waits until it is ready.
func startPostgres(f *function) *proctest.Test {
	return startPostgresBy(f, (*function).command)
}

// startPostgresBy is startPostgres with another way to run it.
func startPostgresBy(f *function, command func(*function, string,
	...string) *exec.Cmd) *proctest.Test {
	t := f.t
	t.Helper()
	natlab.NeedUsers(t)
	dir := tempDir(t)
	data := filepath.Join(dir, "data")
	server := f.as("postgres")
	chown(t, dir, "postgres")
	initdb := server.host.Command(t.Context(), postgres(t, "initdb"), "--pgdata", data,
		"--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	write(t, filepath.Join(data, "pg_hba.conf"),
		"local all all trust\nhost all all all trust\n")
	cmd := command(server, postgres(t, "postgres"), "-D", data, "-k", dir, "-c",
		"listen_addresses=*", "-c", "log_connections=on", "-c", "fsync=off")
	cmd.Dir = dir
	p := proctest.ForTest(t, "postgres", cmd)
	t.Cleanup(func() { // before that of start: SIGTERM alone would wait for the clients
		select {
		case <-p.Ended:
		default:
			p.Stop(syscall.SIGINT)
		}
	})
	p.ExpectLog(`database system is ready to accept connections`)
	return p
}

func chown(t *testing.T, path, user string) {
	t.Helper()
	natlab.NeedUsers(t)
	if out, err := exec.Command("chown", user, path).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
}

// checksum returns the SHA-256 of a file and its size in bytes.
func checksum(t *testing.T, path string) (sum string, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if size, err = io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), size
}

func TestPostgreSQL(t *testing.T) {
	natlab.NeedCommands(t, "psql", "pgbench")
	db, app := pair(t, "db", "app")
	server := startPostgres(db)
	app.reach("db:5432")
	psql := func(app *function, limit time.Duration, command string) string {
		app.t.Helper()
		return strings.TrimSpace(app.runFor(limit, "psql", "-X", "-h", "db", "-U",
			"postgres", "-At", "-v", "ON_ERROR_STOP=1", "-c", command))
	}

	t.Run("addresses", func(t *testing.T) {
		db, app := db.with(t), app.with(t)
		client, own, _ := strings.Cut(psql(app, proctest.Patience,
			"select host(inet_client_addr()), host(inet_server_addr())"), "|")
		app.inPrefix("inet_client_addr()", client)
		db.isAddress("inet_server_addr()", own)
		if client == own {
			t.Errorf("server and client have the same address %s", own)
		}
		// the probe's, as the first one
		logged := server.ExpectLog(`connection received: host=(\S+) port=\d+`)[1]
		app.inPrefix("the client in the server's log", logged)
		if !strings.Contains(server.Err.String(), "host="+client+" ") {
			t.Errorf("the server's log does not have the client %s", client)
		}
	})

	t.Run("pgbench", func(t *testing.T) {
		app := app.with(t)
		duration := choose(10*time.Second, time.Minute)
		app.run("createdb", "-h", "db", "-U", "postgres", "bench")
		app.run("pgbench", "-h", "db", "-U", "postgres", "-i", "-q", "-s",
			choose("2", "10"), "bench")
		out := app.runFor(duration+proctest.Patience, "pgbench", "-h", "db", "-U",
			"postgres", "-c", "10", "-j", "2",
			"-T", fmt.Sprint(duration.Seconds()), "bench")
		for _, want := range []string{"number of failed transactions: 0 (0.000%)",
			"number of clients: 10\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("pgbench does not say %q:\n%s", want, out)
			}
		}
		t.Log(out)
	})

	t.Run("a connection for each transaction", func(t *testing.T) {
		app := app.with(t)
		out := app.run("pgbench", "-h", "db", "-U", "postgres", "-C", "-S", "-c", "4",
			"-T", "3", "bench")
		if !strings.Contains(out, "number of failed transactions: 0 (0.000%)") {
			t.Error(out)
		}
	})

	t.Run("copy", func(t *testing.T) {
		app := app.with(t)
		dir := tempDir(t)
		first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
		const row = 103 // bytes: 96 of text, and the number
		rows := choose(50, 200) << 20 / row
		psql(app, proctest.Patience, fmt.Sprintf("create table big as select i, repeat(md5(i::text), 3) from generate_series(1, %d) as i", rows))
		psql(app, 2*proctest.Patience, `\copy big to '`+first+`'`)
		psql(app, proctest.Patience, "create table again (like big)")
		psql(app, 2*proctest.Patience, `\copy again from '`+first+`'`)
		psql(app, 2*proctest.Patience, `\copy again to '`+second+`'`)
		sum, size := checksum(t, first)
		sum2, size2 := checksum(t, second)
		if sum != sum2 || size != size2 || size < int64(rows)*row {
			t.Errorf("out: %d bytes %s; in and out again: %d bytes %s", size, sum, size2, sum2)
		}
	})
}
