package compose

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// layoutPrefix begins the name of a directory with an OCI image layout.
const layoutPrefix = "layout:"

// Images returns what gets images from registries and from layout:DIR, and unpacks their
// files below a directory, once for each image.
func Images(dir string, warn func(string)) func(context.Context, string) (*Image, error) {
	return func(ctx context.Context, reference string) (*Image, error) {
		image, err := open(ctx, reference)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		digest, err := image.Digest()
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		root := filepath.Join(dir, strings.ReplaceAll(digest.String(), ":", "-"))
		if _, err := os.Stat(root); err != nil {
			warn("unpacking image " + reference)
			if err := unpackOnce(image, root); err != nil {
				return nil, fmt.Errorf("image %s: %w", reference, err)
			}
		}
		file, err := image.ConfigFile()
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", reference, err)
		}
		return imageOf(root, file.Config), nil
	}
}

func imageOf(root string, c v1.Config) *Image {
	i := &Image{Root: root, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env,
		Dir: c.WorkingDir, User: c.User, StopSignal: c.StopSignal}
	if h := c.Healthcheck; h != nil && len(h.Test) > 0 {
		retries := uint64(h.Retries)
		interval, timeout := types.Duration(h.Interval), types.Duration(h.Timeout)
		start := types.Duration(h.StartPeriod)
		i.Health = &types.HealthCheckConfig{Test: h.Test, Interval: &interval,
			Timeout: &timeout, StartPeriod: &start, Retries: &retries}
	}
	return i
}

// open returns an image for this machine.
func open(ctx context.Context, reference string) (v1.Image, error) {
	if dir, ok := strings.CutPrefix(reference, layoutPrefix); ok {
		return fromLayout(dir)
	}
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	return remote.Image(ref, remote.WithContext(ctx),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

func fromLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range manifest.Manifests {
		image, err := index.Image(m.Digest)
		if err != nil {
			continue // an index of its own, or an attestation
		}
		if file, err := image.ConfigFile(); err == nil &&
			file.Architecture == runtime.GOARCH {
			return image, nil
		}
	}
	return nil, fmt.Errorf("none is for %s", runtime.GOARCH)
}

// unpackOnce unpacks the files of an image. Of several processes that do it at once, one
// wins, and who sees the directory sees all files.
func unpackOnce(image v1.Image, root string) (err error) {
	if err := os.MkdirAll(filepath.Dir(root), 0o700); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(root), ".unpacking-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(fresh)
	files := mutate.Extract(image)
	err = unpack(tar.NewReader(files), fresh)
	if err := errors.Join(err, files.Close()); err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	if err := os.Rename(fresh, root); err != nil {
		if _, there := os.Stat(root); there == nil {
			return nil
		}
		return err
	}
	return nil
}

// unpack writes the files of an archive below a directory, and nothing elsewhere: os.Root
// follows no symbolic link out of it. Directories get their modes last.
func unpack(r *tar.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	modes := map[string]os.FileMode{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		at := filepath.Clean(strings.TrimPrefix(h.Name, "/"))
		if at == "." {
			continue
		}
		if !filepath.IsLocal(at) {
			return fmt.Errorf("the image has a file called %q", h.Name)
		}
		if err := unpackEntry(root, h, at, r); err != nil {
			return fmt.Errorf("unpack %s: %w", at, err)
		}
		mode := h.FileInfo().Mode()
		switch h.Typeflag {
		case tar.TypeDir:
			modes[at] = mode
		case tar.TypeReg:
			modes[at] = mode
		}
		if os.Geteuid() == 0 {
			if err := root.Lchown(at, h.Uid, h.Gid); err != nil &&
				h.Typeflag != tar.TypeChar &&
				h.Typeflag != tar.TypeBlock {
				return err
			}
		}
	}
	for at, mode := range modes {
		if err := root.Chmod(at, mode); err != nil {
			return err
		}
	}
	return nil
}

func unpackEntry(root *os.Root, h *tar.Header, at string, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(at, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, at)
	case tar.TypeLink:
		return root.Link(filepath.Clean(strings.TrimPrefix(h.Linkname, "/")), at)
	case tar.TypeReg:
		f, err := root.OpenFile(at, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	}
	return nil // a device: the host's /dev is shown there
}
