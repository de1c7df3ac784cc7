package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// A database is the PostgreSQL server of the demo.
type database struct {
	user, password string
}

// environ returns what its clients need in their environment.
func (db *database) environ() []string {
	return []string{"PGUSER=" + db.user, "PGPASSWORD=" + db.password,
		"PGDATABASE=postgres"}
}

// settings are appended to those of initdb. PostgreSQL listens at every address, also at
// the one on boxer's network.
const settings = `
listen_addresses = '*'
max_wal_size = 256MB
`

// access admits clients that have the password, from any address of the demo's networks.
const access = `
host all all 0.0.0.0/0 scram-sha-256
`

// postgresReady matches what PostgreSQL logs when it accepts connections.
var postgresReady = regexp.MustCompile("database system is ready to accept connections")

// startPostgres makes a database and starts PostgreSQL on it as node db, as the user it
// has on Debian, or as the user who runs the demo.
func (c *cloud) startPostgres(ctx context.Context) (*database, error) {
	bin, err := postgresDir()
	if err != nil {
		return nil, err
	}
	home := filepath.Join(c.dir, "db")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	on, owner := c.db, identity{uid: os.Geteuid(), gid: os.Getegid()}
	switch { // PostgreSQL refuses to run as root
	case owner.uid != 0:
	case natlab.Users() != nil: // root of a namespace that has no other user
		on.apart = true
	default:
		if owner, err = lookUp("postgres"); err != nil {
			return nil, err
		}
		if on, err = on.as(owner); err != nil {
			return nil, err
		}
	}
	db := &database{user: "demo", password: rand.Text()}
	if err := db.initialize(ctx, on, owner, bin, home); err != nil {
		return nil, err
	}
	run := c.boxer(ctx, on, "run", "--name", "db", "--", filepath.Join(bin, "postgres"),
		"-D", dataIn(home), "-k", home)
	run.Dir = home
	p, err := c.start("postgres", run)
	if err != nil {
		return nil, err
	}
	_, err = await(ctx, p, p.Err, postgresReady)
	return db, err
}

// An identity is a user of the system.
type identity struct {
	name     string
	uid, gid int
}

func lookUp(name string) (identity, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return identity{}, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return identity{name, uid, gid}, errors.Join(err1, err2)
}

// dataIn returns the directory of the database itself.
func dataIn(home string) string { return filepath.Join(home, "data") }

// initialize makes the database with initdb, in a directory that it gives to owner.
func (db *database) initialize(ctx context.Context, on machine, owner identity, bin,
	home string) error {
	password := filepath.Join(home, "password")
	if err := os.WriteFile(password, []byte(db.password+"\n"), 0o600); err != nil {
		return err
	}
	for _, path := range []string{home, password} {
		if err := os.Chown(path, owner.uid, owner.gid); err != nil {
			return err
		}
	}
	initdb := on.command(ctx, filepath.Join(bin, "initdb"), "-D", dataIn(home), "-U",
		db.user, "--pwfile", password,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir = home
	if _, err := outputOf(ctx, "initdb", initdb); err != nil {
		return err
	}
	return errors.Join(os.Remove(password),
		appendTo(filepath.Join(dataIn(home), "postgresql.conf"), settings),
		appendTo(filepath.Join(dataIn(home), "pg_hba.conf"), access))
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// postgresDir returns the directory of the server's programs, which Debian keeps out of
// PATH.
func postgresDir() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", fmt.Errorf("%w (Debian package postgresql)", err)
	}
	return filepath.Dir(path), nil
}
