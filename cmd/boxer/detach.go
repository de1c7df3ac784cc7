package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/host/control"
	"github.com/boxer-sandbox/boxer/launcher"
)

// detachedVariable has the descriptor of the pipe to the boxer run --detach that has
// started this process.
const detachedVariable = "BOXER_DETACHED"

// detach runs this command again in a session of its own, and waits until its program has
// started.
func detach(ctx context.Context, join *pflag.Flag, name string) (int, error) {
	// A coordinator that is started there would be in that session, too, but what goes
	// wrong with it is better seen here.
	if _, err := joinURL(ctx, join); err != nil {
		return launcher.ExitBoxer, err
	}
	log, err := detachedLog(name)
	if err != nil {
		return launcher.ExitBoxer, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return launcher.ExitBoxer, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), detachedVariable+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return launcher.ExitBoxer, err
	}
	// Signals end it until it has started.
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(unix.SIGTERM) })()
	var nodes []uint32
	if err := json.NewDecoder(r).Decode(&nodes); err != nil {
		return notDetached(cmd, log)
	}
	for _, id := range nodes {
		fmt.Println(coordinator.OrdinalName(id))
	}
	fmt.Fprintf(os.Stderr, "boxer: it runs in the background, as process %d, and writes to %s, too\n",
		cmd.Process.Pid, log.Name())
	return 0, cmd.Process.Release()
}

// notDetached says what a command has written that has ended before its program started.
func notDetached(cmd *exec.Cmd, log *os.File) (int, error) {
	_ = cmd.Wait()
	if _, err := log.Seek(0, io.SeekStart); err == nil {
		_, _ = io.Copy(os.Stderr, log)
	}
	_ = os.Remove(log.Name())
	code := cmd.ProcessState.ExitCode()
	if code <= 0 { // a signal, or a program that has ended at once
		code = launcher.ExitBoxer
	}
	return code, errors.New("it has ended before it ran in the background")
}

// detachedLog makes the file for the output of a command that runs in the background.
func detachedLog(name string) (*os.File, error) {
	path, err := control.KeyPath() // beside the key
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(filepath.Dir(path), "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log of the program: %w", err)
	}
	if name == "" || strings.ContainsAny(name, "/*") {
		name = "node"
	}
	return os.CreateTemp(dir, name+"-*.log")
}

// detachedFile returns the pipe to who has started this process, nil if nobody waits.
func detachedFile() (*os.File, error) {
	fd := os.Getenv(detachedVariable)
	if fd == "" {
		return nil, nil
	}
	if err := os.Unsetenv(detachedVariable); err != nil {
		return nil, err
	}
	f, err := ownFile(fd)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", detachedVariable, err)
	}
	return f, nil
}

// attached tells who has started this process that its programs run.
func (r *runFlags) attached(nodes []uint32) {
	if r.detached != nil {
		_ = json.NewEncoder(r.detached).Encode(nodes)
		r.detached.Close()
	}
}
