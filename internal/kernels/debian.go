package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// suites are the releases of Debian that provide the kernels, oldest first: 5.10, 6.1,
// 6.12, and the newest.
var suites = []string{"bullseye", "bookworm", "trixie", "sid"}

// errNoKernel means that Debian's archive has no kernel of the wanted version.
var errNoKernel = errors.New("no such kernel in Debian's archive")

// An archive is a private view of Debian's package archive. It does not change the
// machine's own sources and package lists.
type archive struct{ dir string }

// openArchive reads the package lists and stores them in dir.
func openArchive(ctx context.Context, dir, mirror string) (*archive, error) {
	a := &archive{dir: dir}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	var sources strings.Builder
	for _, suite := range suites {
		fmt.Fprintf(&sources, "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", mirror, suite)
	}
	if err := os.WriteFile(filepath.Join(dir, "sources.list"), []byte(sources.String()),
		0o644); err != nil {
		return nil, err
	}
	if _, err := a.run(ctx, "apt-get", "-qq", "update"); err != nil {
		return nil, err
	}
	return a, nil
}

// run runs apt-get or apt-cache on the private view, in its directory.
func (a *archive) run(ctx context.Context, name string, args ...string) (string, error) {
	options := []string{
		"-o", "Dir::Etc::SourceList=" + filepath.Join(a.dir, "sources.list"),
		"-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State::Lists=" + filepath.Join(a.dir, "lists"),
		"-o", "Dir::Cache=" + filepath.Join(a.dir, "cache"),
		"-o", "Acquire::Languages=none",
		"-o", "APT::Architectures=amd64",
		"-o", "APT::Sandbox::User=root",
	}
	cmd := exec.CommandContext(ctx, name, append(options, args...)...)
	cmd.Dir = a.dir
	return output(cmd)
}

// find returns the package with the newest kernel whose version begins with version.
func (a *archive) find(ctx context.Context, version string) (string, error) {
	said, err := a.run(ctx, "apt-cache", "madison", "linux-image-amd64")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(said) { // newest first
		fields := strings.Split(line, "|")
		if len(fields) < 3 {
			continue
		}
		exact := strings.TrimSpace(fields[1])
		if exact != version && !strings.HasPrefix(exact, version+".") {
			continue
		}
		shown, err := a.run(ctx, "apt-cache", "show", "linux-image-amd64="+exact)
		if err != nil {
			return "", err
		}
		if name := imageOf(shown); name != "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("linux %s: %w", version, errNoKernel)
}

// imageOf returns the package with the kernel itself. It takes it from the output of
// apt-cache show for linux-image-amd64, which only depends on that package. It returns ""
// if there is none.
func imageOf(shown string) string {
	for line := range strings.Lines(shown) {
		depends, ok := strings.CutPrefix(line, "Depends: ")
		if !ok {
			continue
		}
		for dependency := range strings.SplitSeq(depends, ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(dependency), " ")
			if strings.HasPrefix(name, "linux-image-") {
				return name
			}
		}
	}
	return ""
}

// A kernel is an unpacked package.
type kernel struct {
	release string // as uname -r prints it
	root    string // the folder with boot/ and the modules
}

// unpack downloads the package and unpacks it into a directory of the archive, unless it
// is there already.
func (a *archive) unpack(ctx context.Context, name string) (*kernel, error) {
	k := &kernel{release: strings.TrimPrefix(name, "linux-image-"),
		root: filepath.Join(a.dir, name)}
	if _, err := os.Stat(filepath.Join(k.root, "complete")); err == nil {
		return k, nil
	}
	if err := os.RemoveAll(k.root); err != nil {
		return nil, err
	}
	if _, err := a.run(ctx, "apt-get", "-qq", "download", name); err != nil {
		return nil, err
	}
	packages, err := filepath.Glob(filepath.Join(a.dir, name+"_*.deb"))
	if err != nil || len(packages) != 1 {
		return nil, fmt.Errorf("apt-get download %s: left %d packages: %v", name,
			len(packages), packages)
	}
	defer os.Remove(packages[0])
	if _, err := output(exec.CommandContext(ctx, "dpkg", "-x", packages[0], k.root)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(k.root, "complete"), nil, 0o644); err != nil {
		return nil, err
	}
	return k, nil
}

// base is the directory that holds lib/modules. In newer packages it is usr.
func (k *kernel) base() string {
	if _, err := os.Stat(filepath.Join(k.root, "usr/lib/modules", k.release)); err == nil {
		return filepath.Join(k.root, "usr")
	}
	return k.root
}

// image returns the path of the compressed kernel.
func (k *kernel) image() string { return filepath.Join(k.root, "boot", "vmlinuz-"+k.release) }

// modules returns the files of the named modules and of the modules that they depend on,
// in the order in which they must be loaded. It omits modules that are built into the
// kernel.
func (k *kernel) modules(ctx context.Context, names ...string) ([]string, error) {
	base := k.base()
	if _, err := output(exec.CommandContext(ctx, "depmod", "--basedir", base,
		k.release)); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var files []string
	for _, name := range names {
		said, err := output(exec.CommandContext(ctx, "modprobe", "--dirname", base,
			"--set-version", k.release, "--show-depends", name))
		if err != nil {
			return nil, fmt.Errorf("module %s of linux %s: %w", name, k.release, err)
		}
		lines := bufio.NewScanner(strings.NewReader(said))
		for lines.Scan() {
			file, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "insmod ")
			if ok && !seen[file] {
				seen[file] = true
				files = append(files, strings.TrimSpace(file))
			}
		}
	}
	return files, nil
}

// output runs a command and returns its standard output. An error contains its standard
// error.
func output(cmd *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err,
			said.Bytes())
	}
	return out.String(), nil
}
