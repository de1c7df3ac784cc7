package launcher

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// Exec replaces this process by a command, as env(1) does. It returns only if the command
// cannot be executed, with an *ExitError. As with Run, the command gets no join URL.
func Exec(argv []string) error {
	env := withoutSecrets(os.Environ())
	path, err := exec.LookPath(argv[0])
	if err == nil || errors.Is(err, exec.ErrDot) {
		err = syscall.Exec(path, argv, env)
		if errors.Is(err, syscall.ENOEXEC) {
			// As with execvp(3), the shell runs a script without an interpreter line.
			err = syscall.Exec("/bin/sh", append([]string{"/bin/sh", path}, argv[1:]...), env)
		}
		err = &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	msg, code := explain(argv[0], err)
	return &ExitError{code, errors.New(msg)}
}
