// Package image makes container images for functions of AWS Lambda, and for other places
// that run images, without a container engine.
//
// Build adds one layer to a base image: boxer and the files of a directory. Boxer becomes
// the entry point, as the function's runtime (boxer lambda serve). An order without a
// program runs the base image's own entry point and command.
//
// github.com/google/go-containerregistry (Apache-2.0, maintained) reads and writes
// images: from and to registries, and as OCI image layouts in directories.
package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/boxer-sandbox/boxer/host"
	"github.com/boxer-sandbox/boxer/lambda/files"
)

// Config describes the image to make.
type Config struct {
	// From is the base image: a reference, such as debian:12, "layout:DIR", or
	// "scratch" for none.
	From string
	// To is the destination of the image: a reference, or "layout:DIR" for a directory.
	To string

	Boxer string // path of boxer's program, a static binary
	Arch  string // as Go names it: amd64 or arm64
	Dir   string // a directory whose files are put below TaskRoot; empty: none
}

// TaskRoot is where functions have their files.
const TaskRoot = "/var/task"

// program is boxer's path in an image.
const program = "/usr/bin/boxer"

// layoutPrefix begins references that name a directory.
const layoutPrefix = "layout:"

// Build makes an image and returns its digest, such as sha256:....
func Build(ctx context.Context, c Config) (digest string, err error) {
	base, err := c.base(ctx)
	if err != nil {
		return "", err
	}
	image, err := c.extend(base)
	if err != nil {
		return "", err
	}
	hash, err := image.Digest()
	if err != nil {
		return "", err
	}
	return hash.String(), c.write(ctx, image)
}

// base returns the base image.
func (c *Config) base(ctx context.Context) (v1.Image, error) {
	platform := v1.Platform{OS: "linux", Architecture: c.Arch}
	if c.From == "scratch" {
		file, err := empty.Image.ConfigFile()
		if err != nil {
			return nil, err
		}
		file = file.DeepCopy()
		file.OS, file.Architecture = platform.OS, platform.Architecture
		return mutate.ConfigFile(empty.Image, file)
	}
	if dir, ok := strings.CutPrefix(c.From, layoutPrefix); ok {
		return fromLayout(dir, platform)
	}
	ref, err := name.ParseReference(c.From)
	if err != nil {
		return nil, fmt.Errorf("base image %q: neither scratch, layout:DIR nor a reference such as debian:12: %w", c.From, err)
	}
	image, err := remote.Image(ref, remote.WithContext(ctx),
		remote.WithPlatform(platform),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", c.From, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("base image %s: %w", c.From, err)
	}
	if file.Architecture != c.Arch {
		return nil, fmt.Errorf("base image %s is for %s, and boxer for %s: take another of the two", c.From, file.Architecture, c.Arch)
	}
	return image, nil
}

// fromLayout returns the image for the platform in a directory.
func fromLayout(dir string, platform v1.Platform) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("base image in %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("base image in %s: %w", dir, err)
	}
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			continue // an index of its own, or an attestation
		}
		if file, err := image.ConfigFile(); err == nil &&
			file.Architecture == platform.Architecture {
			return image, nil
		}
	}
	return nil, fmt.Errorf("base image in %s: none is for %s", dir, platform.Architecture)
}

// extend puts the layer and the configuration on a base image.
func (c *Config) extend(base v1.Image) (v1.Image, error) {
	layerFiles, err := c.files()
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layerFiles)), nil
	})
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(base, mutate.Addendum{Layer: layer,
		History: v1.History{CreatedBy: "boxer lambda image",
			Created: v1.Time{Time: packed}}})
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := file.Config.DeepCopy()
	command := slices.Concat(config.Entrypoint, config.Cmd)
	if len(command) > 0 {
		text, err := json.Marshal(command)
		if err != nil {
			return nil, err
		}
		config.Env = append(config.Env, host.CommandVariable+"="+string(text))
	}
	config.Entrypoint, config.Cmd = []string{program, "lambda", "serve"}, nil
	if config.WorkingDir == "" {
		config.WorkingDir = TaskRoot
	}
	return mutate.Config(image, *config)
}

// packed is the modification time of the files: the same files make the same image.
var packed = time.Unix(0, 0).UTC()

// files returns the layer: a tar archive with boxer and the files of the directory.
func (c *Config) files() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"usr/", "usr/bin/", "var/", "var/task/"} {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755,
			ModTime: packed}); err != nil {
			return nil, err
		}
	}
	if err := addFile(w, c.Boxer, program[1:], 0o755); err != nil {
		return nil, err
	}
	if c.Dir != "" {
		if err := addTree(w, c.Dir); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}

// addTree adds everything below a directory.
func addTree(w *tar.Writer, dir string) error {
	return files.Walk(dir, func(e files.Entry) error {
		h := &tar.Header{Name: path.Join(TaskRoot[1:], e.Name), Mode: int64(e.Mode.Perm()),
			ModTime: packed}
		switch {
		case e.Mode.IsRegular():
			return addFile(w, e.Path, h.Name, e.Mode)
		case e.Mode.IsDir():
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		default:
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
		}
		return w.WriteHeader(h)
	})
}

// addFile adds a file.
func addFile(w *tar.Writer, from, to string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: to, Mode: int64(mode.Perm()),
		Size: int64(len(b)), ModTime: packed}); err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// write writes the image to its destination.
func (c *Config) write(ctx context.Context, image v1.Image) error {
	if dir, ok := strings.CutPrefix(c.To, layoutPrefix); ok {
		index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: c.Arch}}})
		_, err := layout.Write(dir, index)
		if err != nil {
			return fmt.Errorf("write the image to %s: %w", dir, err)
		}
		return nil
	}
	ref, err := name.ParseReference(c.To)
	if err != nil {
		return fmt.Errorf("image %q: neither layout:DIR nor a reference such as registry/name:tag: %w", c.To, err)
	}
	err = remote.Write(ref, image, remote.WithContext(ctx),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
	if err != nil {
		return fmt.Errorf("push %s: %w", c.To, err)
	}
	return nil
}
