package examples

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestRedisCluster has three masters share the keys, and a client that is redirected
// from one to the other.
func TestRedisCluster(t *testing.T) {
	c := newCloud(t, "redis-server", "redis-cli")
	node, dir := absolute(t, "rediscluster/node"), t.TempDir()
	nodes := []string{"kv1", "kv2", "kv3"}
	for _, name := range nodes {
		c.function(name).start(node, name, filepath.Join(dir, name)).Expect(`Ready to accept connections`)
	}
	app := c.function("app")
	app.run("redis-cli", "--cluster", "create", "kv1:6379", "kv2:6379", "kv3:6379",
		"--cluster-yes")
	for _, name := range nodes {
		eventually(t, name+" sees the whole cluster", func() error {
			out, err := app.try("redis-cli", "-h", name, "cluster", "info")
			if err == nil && !strings.Contains(out, "cluster_state:ok") {
				err = errors.New(out)
			}
			return err
		})
	}
	const script = `
for i in 0 1 2 3 4 5 6 7 8 9; do redis-cli -c -h kv1 set "key$i" "value$i"; done
for i in 0 1 2 3 4 5 6 7 8 9; do redis-cli -c -h kv3 get "key$i"; done
for node in kv1 kv2 kv3; do redis-cli -h "$node" dbsize; done
redis-cli -h kv1 cluster slots | grep -c '^kv[123]$'`
	var want strings.Builder
	want.WriteString(strings.Repeat("OK\n", 10))
	for i := range 10 {
		fmt.Fprintf(&want, "value%d\n", i)
	}
	// Each has some of the keys, and is known by its name.
	got := app.run("sh", "-c", script)
	head, sizes, _ := strings.Cut(got, want.String())
	f := strings.Fields(sizes)
	if head != "" || len(f) != 4 || f[3] != "3" || f[0] == "0" || f[1] == "0" ||
		f[2] == "0" {
		t.Errorf("got\n%s", got)
	}
}

// TestNATS publishes to a stream that has a replica on each of three servers.
func TestNATS(t *testing.T) {
	c := newCloud(t, "nats-server", "python3")
	node, dir := absolute(t, "nats/node"), t.TempDir()
	for _, name := range []string{"n1", "n2", "n3"} {
		c.function(name).start(node, name, filepath.Join(dir, name))
	}
	app := c.function("app")
	took := eventually(t, "a stream", func() error {
		out, err := app.try("/usr/bin/python3", absolute(t, "nats/client.py"), "n2", "100")
		if err == nil && out != "100 messages, 2 replicas beside the leader\n" {
			t.Fatalf("the client says %q", out)
		}
		return err
	})
	t.Logf("100 messages, %v after the servers were started", took)
}

// TestGalera writes to each of two servers and reads all of it from each. A third one
// would join as the second does.
func TestGalera(t *testing.T) {
	c := newCloud(t, "mariadbd", "mariadb", "mariadb-install-db", "rsync")
	needFile(t, "/usr/lib/galera/libgalera_smm.so", "install galera-4")
	natlab.NeedUsers(t)
	dir := openDir(t)
	c.boxer = openCopy(t, c.boxer, dir)
	node := openCopy(t, absolute(t, "galera/node"), dir)
	nodes := []string{"db1", "db2"}
	// As root, rsync's daemon would become nobody.
	mysql := func(f *function) *function {
		f.host = c.host(f.host.As("mysql"))
		return f
	}
	first := mysql(c.function("db1"))
	for i, name := range nodes {
		args := []string{node, name, filepath.Join(dir, name)}
		if i == 0 {
			first.start(append(args, "new")...)
		} else {
			mysql(c.function(name)).start(args...)
		}
		took := eventually(t, name+" is synced", func() error {
			return statusIs(first, filepath.Join(dir, name, "socket"),
				"wsrep_local_state_comment", "Synced")
		})
		t.Logf("%s is synced after %v", name, took)
	}
	socket := filepath.Join(dir, "db1", "socket")
	first.run("mariadb", "--socket="+socket, "-uroot", "-e", `
create database shop;
create table shop.orders (id int primary key auto_increment, node varchar(10)) engine=innodb;
create user app@'%' identified by 'app'; grant all on shop.* to app@'%';`)
	app := c.function("app")
	query := func(name, sql string) string {
		return app.run("mariadb", "-h", name, "-uapp", "-papp", "-N", "-e", sql)
	}
	for _, name := range nodes {
		query(name, "insert into shop.orders (node) values ('"+name+"')")
	}
	for _, name := range nodes {
		const all = "set wsrep_sync_wait = 1; select group_concat(node order by node) from shop.orders"
		if got := query(name, all); got != "db1,db2\n" {
			t.Errorf("%s has the rows %q", name, got)
		}
	}
	if err := statusIs(first, socket, "wsrep_cluster_size", "2"); err != nil {
		t.Error(err)
	}
}

// openDir returns a directory for all users, gone after the test.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "boxer-examples-")
	if err == nil {
		err = os.Chmod(dir, 0o777)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// openCopy copies a program to dir and returns its path there: other users cannot run
// what is in a checkout below /root.
func openCopy(t *testing.T, path, dir string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// statusIs fails unless a status variable of the server at a socket has a value.
func statusIs(f *function, socket, name, want string) error {
	out, err := f.try("mariadb", "--socket="+socket, "-uroot", "-N", "-e",
		"show status like '"+name+"'")
	if got := strings.TrimSpace(strings.TrimPrefix(out, name)); err == nil &&
		got != want {
		err = fmt.Errorf("%s is %q", name, got)
	}
	return err
}
