package project

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// errLoopback means that functions cannot reach the coordinator.
var errLoopback = errors.New("the project's own network is on this host alone: start a coordinator with a public address (boxer coordinator --listen 0.0.0.0:4433 --host NAME) and use boxer up --join @FILE")

// command returns the process of an instance.
func (s *Supervisor) command(i *instance) (*exec.Cmd, error) {
	svc := &i.svc
	f, err := svc.fill(s.cfg.Dir.Name, i.Index)
	if err != nil {
		return nil, err
	}
	args := []string{"run", "--name", f.node}
	if svc.elsewhere() {
		if s.network.isLoopback() {
			return nil, errLoopback
		}
		args = append(args, "--join", s.network.join, "--on", svc.Host, "--count",
			strconv.Itoa(svc.Count))
		for _, e := range f.env {
			name, _, _ := strings.Cut(e, "=")
			args = append(args, "--env", name) // the value, maybe secret, is in environ
		}
	} else {
		args = append(args, "--control-fd", "3")
	}
	for _, p := range svc.Publish {
		args = append(args, "--publish", p)
	}
	for _, w := range svc.WaitFor {
		args = append(args, "--wait-for", w)
	}
	if svc.WaitTimeout != "" {
		args = append(args, "--wait-timeout", svc.WaitTimeout)
	}
	args = append(append(args, svc.RunFlags...), "--")
	args = append(args, f.argv...)
	cmd := exec.Command(s.cfg.Boxer, args...)
	cmd.Args[0] = "boxer"
	cmd.Dir = svc.Dir
	if svc.elsewhere() {
		cmd.Env = append(os.Environ(), f.env...) // with what finds and opens the cloud
		return cmd, nil
	}
	// Not a file: another user, or one in an image, could not read it. boxer run hides
	// the variable and keeps it from its program.
	cmd.Env = append(f.env, "BOXER_JOIN="+s.network.url.String())
	return cmd, s.enter(i, cmd)
}

// enter makes the command one that first makes the instance's view of files, if it has
// one of its own, and has the instance's user.
func (s *Supervisor) enter(i *instance, cmd *exec.Cmd) error {
	svc := &i.svc
	if svc.User != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{
			Uid: svc.User.UID, Gid: svc.User.GID, Groups: svc.User.Groups}}
	}
	if svc.Space == nil {
		return nil
	}
	space, err := s.makeSpace(i)
	if err != nil {
		return err
	}
	order := enterOrder{Space: *space, User: svc.User, Dir: svc.Dir,
		Own: filepath.Join(s.cfg.Dir.file(filesDir), i.Name, "image")}
	b, err := json.Marshal(order)
	if err != nil {
		return err
	}
	cmd.Args = append([]string{EnterName, cmd.Path}, cmd.Args...)
	cmd.Stdin, cmd.Dir = bytes.NewReader(b), "/"
	cmd.SysProcAttr = namespaces()
	return nil
}

// makeSpace writes the files of an instance and returns its space with their places.
func (s *Supervisor) makeSpace(i *instance) (*Space, error) {
	space := *i.svc.Space
	space.Mounts = append([]Mount(nil), space.Mounts...)
	dir := filepath.Join(s.cfg.Dir.file(filesDir), i.Name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	for n, f := range space.Files {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, strconv.Itoa(n))
		if err := writeFile(path, f, i.svc.User); err != nil {
			return nil, fmt.Errorf("file %s: %w", f.Target, err)
		}
		space.Mounts = append(space.Mounts, Mount{Source: path, Target: f.Target,
			ReadOnly: true, File: true})
	}
	space.Files = nil
	return &space, nil
}

func writeFile(path string, f File, u *User) error {
	mode := os.FileMode(f.Mode)
	if mode == 0 {
		mode = 0o444
	}
	if err := os.WriteFile(path, f.Content, 0o600); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		uid, gid := f.UID, f.GID
		if uid < 0 && u != nil {
			uid, gid = int(u.UID), int(u.GID)
		}
		if uid >= 0 {
			if err := os.Chown(path, uid, gid); err != nil {
				return err
			}
		}
	}
	return os.Chmod(path, mode)
}
