package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
)

// Options say which files to read, as docker compose's flags do.
type Options struct {
	Files    []string // empty: $COMPOSE_FILE, else compose.yaml here or above
	Name     string   // of the project; empty: as docker compose finds it
	Profiles []string // with $COMPOSE_PROFILES
	EnvFiles []string // empty: .env
	Dir      string   // of the project; empty: that of the first file

	// Warn is told what is odd in the files; nil: nobody is.
	Warn func(string)
}

// ErrNoFile means that there is no compose file.
var ErrNoFile = errors.New("no compose file here or in a directory above; name one with --file")

// Load reads the files.
func Load(ctx context.Context, o Options) (*types.Project, error) {
	logrus.SetOutput(io.Discard)
	if o.Warn != nil {
		logrus.SetFormatter(warner(o.Warn))
		logrus.SetOutput(discard{})
	}
	options, err := cli.NewProjectOptions(o.Files,
		cli.WithWorkingDirectory(o.Dir), cli.WithOsEnv, cli.WithEnvFiles(o.EnvFiles...),
		cli.WithDotEnv, cli.WithConfigFileEnv, cli.WithDefaultConfigPath,
		// Again: .env may be in the directory of a file that was found above.
		cli.WithEnvFiles(o.EnvFiles...), cli.WithDotEnv,
		cli.WithDefaultProfiles(o.Profiles...), cli.WithName(o.Name),
		// It wants an image for each service, see check.
		cli.WithConsistency(false))
	if err != nil {
		return nil, err
	}
	if len(options.ConfigPaths) == 0 {
		return nil, ErrNoFile
	}
	p, err := options.LoadProject(ctx)
	if err != nil {
		return nil, err
	}
	return p, check(p)
}

// check returns an error for names that the files do not define, and for values that
// contradict each other, as compose-go does for services that have images.
func check(p *types.Project) error {
	var errs []error
	for name, s := range p.Services {
		undefined := func(kind, what string) {
			errs = append(errs, serviceError(name, "undefined %s %s", kind, what))
		}
		for n := range s.Networks {
			if _, ok := p.Networks[n]; !ok {
				undefined("network", n)
			}
		}
		for _, v := range s.Volumes {
			if _, ok := p.Volumes[v.Source]; !ok && v.Type == types.VolumeTypeVolume &&
				v.Source != "" {
				undefined("volume", v.Source)
			}
		}
		for _, ref := range s.Secrets {
			if _, ok := p.Secrets[ref.Source]; !ok {
				undefined("secret", ref.Source)
			}
		}
		for _, ref := range s.Configs {
			if _, ok := p.Configs[ref.Source]; !ok {
				undefined("config", ref.Source)
			}
		}
		if s.Scale != nil && s.Deploy != nil && s.Deploy.Replicas != nil &&
			*s.Scale != *s.Deploy.Replicas {
			errs = append(errs, serviceError(name, "scale and deploy.replicas differ"))
		}
		if s.GetScale() < 0 {
			errs = append(errs, serviceError(name, "scale %d: use 0 or more", s.GetScale()))
		}
	}
	return errors.Join(errs...)
}

// discard is io.Discard, which logrus knows and formats nothing for.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// A warner passes on what compose-go logs.
type warner func(string)

// Format implements logrus.Formatter.
func (w warner) Format(e *logrus.Entry) ([]byte, error) {
	if e.Level <= logrus.WarnLevel {
		w(strings.TrimSpace(e.Message))
	}
	return nil, nil
}

// Find returns whether there is a compose file for the options.
func Find(o Options) bool {
	if len(o.Files) > 0 || os.Getenv("COMPOSE_FILE") != "" {
		return true
	}
	dir := o.Dir
	if dir == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return false
		}
	}
	for {
		for _, name := range cli.DefaultFileNames {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return true
			}
		}
		if dir == filepath.Dir(dir) {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// serviceError is an error about a service.
func serviceError(name string, format string, args ...any) error {
	return fmt.Errorf("service %s: %w", name, fmt.Errorf(format, args...))
}
