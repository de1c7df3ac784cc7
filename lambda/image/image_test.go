package image

import (
	"archive/tar"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// app returns a directory with a file that others may not read, and a link.
func app(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "bin"), 0o700),
		os.WriteFile(filepath.Join(dir, "bin", "tool"), []byte("#!/bin/sh\n"), 0o700),
		os.Symlink("bin/tool", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// someBoxer returns a file that stands for boxer's program.
func someBoxer(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "boxer")
	if err := os.WriteFile(path, []byte("ELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// contents returns the files of an image's last layer with their modes.
func contents(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := make(map[string]string)
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = h.FileInfo().Mode().String() + " " + h.Linkname
	}
}

func TestRegistry(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	base, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	file, err := base.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = v1.Config{Entrypoint: []string{"/entry"}, Cmd: []string{"serve", "a b"},
		Env: []string{"A=1"}, WorkingDir: "/srv"}
	if base, err = mutate.ConfigFile(base, file); err != nil {
		t.Fatal(err)
	}
	from, err := name.ParseReference(at + "/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(from, base); err != nil {
		t.Fatal(err)
	}
	c := Config{From: from.String(), To: at + "/made:1", Boxer: someBoxer(t),
		Arch: runtime.GOARCH, Dir: app(t)}
	digest, err := Build(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	made, err := name.ParseReference(at + "/made@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(made)
	if err != nil {
		t.Fatal(err)
	}
	if file, err = image.ConfigFile(); err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/usr/bin/boxer", "lambda", "serve"},
		WorkingDir: "/srv",
		Env:        []string{"A=1", `BOXER_COMMAND=["/entry","serve","a b"]`}}
	if !reflect.DeepEqual(file.Config, want) {
		t.Errorf("the image's configuration is %+v, want %+v", file.Config, want)
	}
	if layers, err := image.Layers(); err != nil || len(layers) != 3 {
		t.Errorf("%d layers, %v, want the base's and one", len(layers), err)
	}
	files := contents(t, image)
	for name, want := range map[string]string{"usr/bin/boxer": "-rwxr-xr-x ",
		"var/task/bin/": "drwxr-xr-x ", "var/task/bin/tool": "-rwxr--r-- ",
		"var/task/link": "Lrwxrwxrwx bin/tool"} {
		if files[name] != want {
			t.Errorf("%s is %q, want %q", name, files[name], want)
		}
	}
	if again, err := Build(t.Context(), c); again != digest || err != nil {
		t.Errorf("the same files give %s and %s, %v", digest, again, err)
	}
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	c.Arch = other
	if _, err := Build(t.Context(), c); err == nil {
		t.Error("a base image of another architecture is taken")
	}
}

func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "img")
	if _, err := Build(t.Context(), Config{From: "scratch", To: "layout:" + dir, Boxer: someBoxer(t),
		Arch: runtime.GOARCH}); err != nil {
		t.Fatal(err)
	}
	// An image that boxer has made can be the base of another.
	second := filepath.Join(t.TempDir(), "img")
	if _, err := Build(t.Context(), Config{From: "layout:" + dir, To: "layout:" + second,
		Boxer: someBoxer(t), Arch: runtime.GOARCH, Dir: app(t)}); err != nil {
		t.Fatal(err)
	}
	image, err := fromLayout(second, v1.Platform{OS: "linux", Architecture: runtime.GOARCH})
	if err != nil {
		t.Fatal(err)
	}
	if files := contents(t, image); files["var/task/bin/tool"] == "" {
		t.Errorf("files %v", files)
	}
	if _, err := fromLayout(second, v1.Platform{OS: "linux", Architecture: "riscv64"}); err == nil {
		t.Error("an image of another architecture is taken")
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct{ from, to, boxer, want string }{
		{"UPPER CASE", "layout:x", someBoxer(t), "base image"},
		{"layout:/dev/null/none", "layout:x", someBoxer(t), "/dev/null/none"},
		{"scratch", "UPPER CASE", someBoxer(t), "neither layout:DIR nor a reference"},
		{"scratch", "layout:x", "/dev/null/none", "/dev/null/none"},
		{"127.0.0.1:1/none:1", "layout:x", someBoxer(t), "127.0.0.1:1/none:1"},
	} {
		_, err := Build(t.Context(), Config{From: tc.from,
			To:    strings.Replace(tc.to, "layout:x", "layout:"+t.TempDir(), 1),
			Boxer: tc.boxer, Arch: "amd64"})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}
