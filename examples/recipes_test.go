package examples

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestRedisCluster has three masters share the keys, and a client that is redirected
// from one to the other. Then a master is lost, and its replica takes its keys.
func TestRedisCluster(t *testing.T) {
	c := newCloud(t, "redis-server", "redis-cli")
	node, dir := absolute(t, "rediscluster/node"), t.TempDir()
	masters := []string{"kv1", "kv2", "kv3"}
	nodes := append(masters, "kv4", "kv5", "kv6")
	running := make(map[string]*proctest.Test)
	create := []string{"redis-cli", "--cluster", "create", "--cluster-yes",
		"--cluster-replicas", "1"}
	for _, name := range nodes {
		running[name] = c.function(name).start(node, name, filepath.Join(dir, name))
		create = append(create, name+":6379")
	}
	for _, name := range nodes {
		running[name].Expect(`Ready to accept connections`)
	}
	app := c.function("app")
	app.run(create...)
	for _, name := range nodes {
		eventually(t, name+" sees the whole cluster", func() error {
			return redisSays(app, name, []string{"cluster", "info"}, "cluster_state:ok",
				"cluster_known_nodes:6")
		})
	}
	for _, name := range masters {
		eventually(t, name+" has a replica", func() error {
			return redisSays(app, name, []string{"info", "replication"}, "role:master",
				"connected_slaves:1", "state=online")
		})
	}
	keysAreShared(t, app)
	masterIsLost(t, app, running["kv1"])
}

// redisSays fails unless a Redis server answers a command by all the words.
func redisSays(app *function, name string, command []string, words ...string) error {
	out, err := app.try(append([]string{"redis-cli", "-h", name}, command...)...)
	if err != nil {
		return err
	}
	for _, word := range words {
		if !strings.Contains(out, word) {
			return fmt.Errorf("%s: no %s in %q", name, word, out)
		}
	}
	return nil
}

// keysAreShared writes and reads ten keys by way of two masters. Each of the three has
// some of the keys, and is known by its name.
func keysAreShared(t *testing.T, app *function) {
	t.Helper()
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
	got := app.run("sh", "-c", script)
	head, sizes, _ := strings.Cut(got, want.String())
	f := strings.Fields(sizes)
	if head != "" || len(f) != 4 || f[3] != "3" || f[0] == "0" || f[1] == "0" ||
		f[2] == "0" {
		t.Errorf("got\n%s", got)
	}
}

// masterIsLost kills the master kv1. Its keys are read and written again at its replica.
func masterIsLost(t *testing.T, app *function, master *proctest.Test) {
	t.Helper()
	var lost []string // of the ten keys, those that kv1 has
	for i := range 10 {
		key := fmt.Sprintf("key%d", i)
		if _, err := app.try("sh", "-c", `[ -n "$(redis-cli -h kv1 get `+key+
			` | grep '^value')" ]`); err == nil {
			lost = append(lost, key)
		}
	}
	if len(lost) == 0 {
		t.Fatal("kv1 has none of the keys")
	}
	master.Kill()
	// A client that is sent to kv1 meanwhile asks for its name outside of the network,
	// too. The lab has no name server there, and the client waits for one.
	took := eventually(t, "a replica in the place of kv1", func() error {
		if err := redisSays(app, "kv2", []string{"cluster", "slots"}, "kv2"); err != nil {
			return err
		}
		if redisSays(app, "kv2", []string{"cluster", "slots"}, "kv1\n") == nil {
			return errors.New("kv1 has its slots")
		}
		return redisSays(app, "kv2", []string{"cluster", "info"}, "cluster_state:ok")
	})
	t.Logf("kv1 killed: its replica has its slots after %v", took)
	if got := app.run("redis-cli", "-c", "-h", "kv2", "set", lost[0], "again"); got !=
		"OK\n" {
		t.Errorf("set: %q", got)
	}
	for i, key := range lost {
		want := strings.Replace(key, "key", "value", 1) + "\n"
		if i == 0 {
			want = "again\n"
		}
		if got := app.run("redis-cli", "-c", "-h", "kv3", "get", key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

// TestNATS publishes to a stream that has a replica on each of three servers. Then the
// server that leads the stream is lost.
func TestNATS(t *testing.T) {
	c := newCloud(t, "nats-server", "python3")
	node, dir := absolute(t, "nats/node"), t.TempDir()
	running := make(map[string]*proctest.Test)
	for _, name := range []string{"n1", "n2", "n3"} {
		running[name] = c.function(name).start(node, name, filepath.Join(dir, name))
	}
	app := c.function("app")
	// publish publishes to the stream by way of the servers, and returns what it has.
	publish := func(servers, count string) (messages int, leader string, err error) {
		out, err := app.try("/usr/bin/python3", absolute(t, "nats/client.py"), servers,
			count)
		if err != nil {
			return 0, "", err
		}
		if _, err = fmt.Sscanf(out, "%d messages, 2 replicas beside the leader %s\n",
			&messages, &leader); err != nil {
			t.Fatalf("the client says %q", out)
		}
		return messages, leader, nil
	}
	var leader string
	took := eventually(t, "a stream", func() (err error) {
		_, leader, err = publish("n2", "100")
		return err
	})
	t.Logf("100 messages, %v after the servers were started", took)
	if running[leader] == nil {
		t.Fatalf("the leader is %q", leader)
	}
	running[leader].Kill()
	var messages int
	took = eventually(t, "another leader", func() (err error) {
		messages, _, err = publish("n1,n2,n3", "1")
		return err
	})
	t.Logf("the leader %s killed: a message is acknowledged after %v", leader, took)
	if messages < 101 {
		t.Errorf("the stream has %d messages, want the 100 and one more", messages)
	}
}

// TestGalera writes to each server and reads all of it from each. There are two, or with
// -examples.long three: then one is lost, and the others go on.
func TestGalera(t *testing.T) {
	c := newCloud(t, "mariadbd", "mariadb", "mariadb-install-db", "rsync")
	needFile(t, "/usr/lib/galera/libgalera_smm.so", "install galera-4")
	natlab.NeedUsers(t)
	dir := openDir(t)
	c.boxer = openCopy(t, c.boxer, dir)
	node := openCopy(t, absolute(t, "galera/node"), dir)
	nodes := []string{"db1", "db2"}
	if *long {
		nodes = append(nodes, "db3")
	}
	running := make(map[string]*proctest.Test)
	// As root, rsync's daemon would become nobody.
	mysql := func(f *function) *function {
		f.host = c.host(f.host.As("mysql"))
		return f
	}
	first := mysql(c.function("db1"))
	for i, name := range nodes {
		args := []string{node, name, filepath.Join(dir, name)}
		if i == 0 {
			running[name] = first.start(append(args, "new")...)
		} else {
			running[name] = mysql(c.function(name)).start(args...)
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
		if got := query(name, all); got != strings.Join(nodes, ",")+"\n" {
			t.Errorf("%s has the rows %q", name, got)
		}
	}
	if err := statusIs(first, socket, "wsrep_cluster_size",
		strconv.Itoa(len(nodes))); err != nil {
		t.Error(err)
	}
	if !*long {
		return
	}
	running["db2"].Kill()
	took := eventually(t, "a write without db2", func() error {
		_, err := app.try("mariadb", "-h", "db3", "-uapp", "-papp", "-N", "-e",
			"insert into shop.orders (node) values ('db3')")
		return err
	})
	t.Logf("db2 killed: db3 takes a write after %v", took)
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
