package compose

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/project"
)

// A Converter makes plans of projects.
type Converter struct {
	// Image returns the files of an image; nil: there are no images.
	Image func(ctx context.Context, reference string) (*Image, error)
	// Volumes is the directory in which volumes are.
	Volumes string
	// Warn is told what has no effect.
	Warn func(string)
}

// An Image is an image whose files are in a directory.
type Image struct {
	Root            string
	Entrypoint, Cmd []string
	Env             []string
	Dir, User       string
	StopSignal      string
	Health          *types.HealthCheckConfig
}

// Plan makes a plan of a project.
func (c *Converter) Plan(ctx context.Context, p *types.Project) (project.Plan, error) {
	plan := project.Plan{Name: p.Name, Dir: p.WorkingDir}
	tellEffects(p, c.Warn)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		svc, err := c.service(ctx, p, &s)
		if err != nil {
			errs = append(errs, serviceError(name, "%w", err))
			continue
		}
		plan.Services = append(plan.Services, svc)
	}
	if len(errs) > 0 {
		return plan, errors.Join(errs...)
	}
	return plan, plan.Check()
}

// service makes the plan of one service.
func (c *Converter) service(ctx context.Context, p *types.Project,
	s *types.ServiceConfig) (svc project.Service, err error) {
	x, err := boxerOf(s)
	if err != nil {
		return svc, err
	}
	svc = project.Service{Name: s.Name, NodeName: x.Name, Count: s.GetScale(),
		Dir: s.WorkingDir, WaitFor: x.WaitFor, WaitTimeout: x.WaitTimeout,
		RunFlags: x.flags(), Quiet: s.Attach != nil && !*s.Attach}
	if x.Count != nil {
		svc.Count = *x.Count
	}
	if x.elsewhere() {
		svc.Host = x.Host
	}
	if x.Name == "" {
		if svc.NodeName, err = nodeName(s.Name); err != nil {
			return svc, err
		}
	}
	image, err := c.program(ctx, s, &x, &svc)
	if err != nil {
		return svc, err
	}
	svc.Env = environment(s, image, &x)
	for _, set := range []func() error{
		func() error { return setStop(s, image, &svc) },
		func() error { return setHealth(s, image, &svc) },
		func() error { return setRestart(s, &svc) },
		func() error { return setUser(s, image, &svc) },
		func() error { return setPorts(s, &svc) },
		func() error { return c.setFiles(p, s, &svc) },
	} {
		if err := set(); err != nil {
			return svc, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		svc.DependsOn = append(svc.DependsOn, project.Dependency{Service: name,
			Condition: d.Condition, Restart: d.Restart, Optional: !d.Required})
	}
	if svc.Dir == "" && image == nil && !x.elsewhere() {
		svc.Dir = p.WorkingDir
	}
	return svc, nil
}

// nodeName returns the name of a service's nodes, empty if it is the service's.
func nodeName(service string) (string, error) {
	name := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(service))
	if _, err := coordinator.CheckName(name); err != nil {
		return "", fmt.Errorf("%w; x-boxer: {name: NAME} gives its nodes another one", err)
	}
	if name == service {
		return "", nil
	}
	return name, nil
}

// errNoProgram means that a service does not say what to run.
var errNoProgram = errors.New("it has neither an image nor a command; x-boxer: {command: [PROGRAM, ARG...]} names a program of this host")

// program sets what runs: the command of the extension, or the image's with what the file
// says, or, without an image, what the file says.
func (c *Converter) program(ctx context.Context, s *types.ServiceConfig, x *Boxer,
	svc *project.Service) (*Image, error) {
	said := slices.Concat([]string(s.Entrypoint), []string(s.Command))
	reference := x.Image
	if reference == "" {
		reference = s.Image
	}
	switch {
	case len(x.Command) > 0:
		svc.Argv = x.Command
		return nil, nil
	case x.elsewhere():
		svc.Argv = said
		if len(said) == 0 {
			return nil, fmt.Errorf("it runs on %s and says no command: %w", x.Host,
				errNoProgram)
		}
		return nil, nil
	case s.Provider != nil && s.Provider.Type != "boxer":
		return nil, fmt.Errorf("provider %s: only docker compose can use it",
			s.Provider.Type)
	case s.Provider != nil:
		svc.Argv = s.Provider.Options["command"]
		if len(svc.Argv) == 0 {
			return nil, errNoProgram
		}
		return nil, nil
	case reference == "" && s.Build != nil && x.Image == "":
		return nil, fmt.Errorf("boxer builds no images: %w", errNoProgram)
	case reference == "":
		svc.Argv = said
		if len(said) == 0 {
			return nil, errNoProgram
		}
		return nil, nil
	}
	if c.Image == nil {
		return nil, errNoProgram
	}
	image, err := c.Image(ctx, reference)
	if err != nil {
		return nil, fmt.Errorf("%w; x-boxer: {command: [PROGRAM, ARG...]} names a program of this host instead", err)
	}
	svc.Space = &project.Space{Root: image.Root, ReadOnly: s.ReadOnly}
	entrypoint, cmd := image.Entrypoint, image.Cmd
	if s.Entrypoint != nil {
		entrypoint, cmd = s.Entrypoint, nil
	}
	if s.Command != nil {
		cmd = s.Command
	}
	if svc.Argv = slices.Concat(entrypoint, []string(cmd)); len(svc.Argv) == 0 {
		return nil, fmt.Errorf("image %s has no command: set command", reference)
	}
	if svc.Dir == "" {
		svc.Dir = image.Dir
	}
	return image, nil
}

// passedOn are the variables of this process that a program of the host gets: what it
// needs to be found, to find its user, and to write in the user's language.
var passedOn = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ",
	"TMPDIR", "XDG_RUNTIME_DIR", "BOXER_INTERPOSER", "BOXER_LOG"}

// environment returns the variables of a service.
func environment(s *types.ServiceConfig, image *Image, x *Boxer) []string {
	env := map[string]string{}
	set := func(list []string) {
		for _, e := range list {
			name, value, _ := strings.Cut(e, "=")
			env[name] = value
		}
	}
	if image != nil {
		env["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
		env["HOME"] = "/root"
		set(image.Env)
	} else if !x.elsewhere() {
		for _, e := range os.Environ() {
			name, _, _ := strings.Cut(e, "=")
			if slices.Contains(passedOn, name) || strings.HasPrefix(name, "LC_") {
				set([]string{e})
			}
		}
	}
	for name, value := range s.Environment {
		if value != nil {
			env[name] = *value
		}
	}
	var list []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

func setStop(s *types.ServiceConfig, image *Image, svc *project.Service) error {
	if s.StopGracePeriod != nil {
		svc.Grace = max(time.Duration(*s.StopGracePeriod), time.Millisecond)
	}
	text := s.StopSignal
	if text == "" && image != nil {
		text = image.StopSignal
	}
	if text == "" {
		return nil
	}
	if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 64 {
		svc.StopSignal = n
		return nil
	}
	name := "SIG" + strings.TrimPrefix(strings.ToUpper(text), "SIG")
	if rest, ok := strings.CutPrefix(name, "SIGRTMIN+"); ok {
		if n, err := strconv.Atoi(rest); err == nil && n >= 0 && n <= 30 {
			svc.StopSignal = 34 + n
			return nil
		}
	}
	n := unix.SignalNum(name)
	if n == 0 {
		return fmt.Errorf("stop_signal %q: unknown signal; use a name such as SIGINT", text)
	}
	svc.StopSignal = int(n)
	return nil
}

func setHealth(s *types.ServiceConfig, image *Image, svc *project.Service) error {
	h := s.HealthCheck
	if h == nil || len(h.Test) == 0 && !h.Disable {
		var own types.HealthCheckConfig
		if h != nil {
			own = *h
		}
		if image == nil || image.Health == nil {
			return nil
		}
		own.Test = image.Health.Test
		h = &own
	}
	if h.Disable || len(h.Test) > 0 && h.Test[0] == "NONE" {
		return nil
	}
	if svc.Host != "" {
		return errors.New("healthcheck: not of a service that runs elsewhere; x-boxer: {ready-when: PORT} says when it is ready")
	}
	check := project.Health{Interval: project.DefaultInterval,
		Timeout: project.DefaultInterval, Retries: project.DefaultRetries,
		StartInterval: 5 * time.Second}
	switch h.Test[0] {
	case "CMD":
		check.Argv = h.Test[1:]
	case "CMD-SHELL":
		check.Argv = append([]string{"/bin/sh", "-c"}, h.Test[1:]...)
	default:
		return fmt.Errorf("healthcheck: test begins with %q; use CMD, CMD-SHELL or NONE",
			h.Test[0])
	}
	if len(check.Argv) == 0 {
		return errors.New("healthcheck: test has no command")
	}
	for _, d := range []struct {
		from *types.Duration
		to   *time.Duration
	}{{h.Interval, &check.Interval}, {h.Timeout, &check.Timeout},
		{h.StartPeriod, &check.StartPeriod}, {h.StartInterval, &check.StartInterval}} {
		if d.from != nil && *d.from > 0 {
			*d.to = time.Duration(*d.from)
		}
	}
	if h.Retries != nil && *h.Retries > 0 {
		check.Retries = int(*h.Retries)
	}
	svc.Health = &check
	return nil
}

func setRestart(s *types.ServiceConfig, svc *project.Service) error {
	policy, most, limited := strings.Cut(s.Restart, ":")
	switch policy {
	case "", "no":
	case "always", "unless-stopped":
		svc.Restart.Policy = project.Always
	case "on-failure":
		svc.Restart.Policy = project.OnFailure
	default:
		return fmt.Errorf("restart %q: use no, always, unless-stopped or on-failure[:N]",
			s.Restart)
	}
	if limited {
		n, err := strconv.Atoi(most)
		if err != nil || n < 0 {
			return fmt.Errorf("restart %q: %q is not a number of restarts", s.Restart, most)
		}
		svc.Restart.Max = n
	}
	if s.Deploy == nil || s.Deploy.RestartPolicy == nil || s.Restart != "" {
		return nil
	}
	r := s.Deploy.RestartPolicy
	switch r.Condition {
	case "", "any":
		svc.Restart.Policy = project.Always
	case "on-failure":
		svc.Restart.Policy = project.OnFailure
	case "none":
		return nil
	default:
		return fmt.Errorf("deploy.restart_policy.condition %q: use none, on-failure or any", r.Condition)
	}
	if r.MaxAttempts != nil {
		svc.Restart.Max = int(*r.MaxAttempts)
	}
	if r.Delay != nil {
		svc.Restart.Delay = time.Duration(*r.Delay)
	}
	if r.Window != nil {
		svc.Restart.Window = time.Duration(*r.Window)
	}
	return nil
}

func setPorts(s *types.ServiceConfig, svc *project.Service) error {
	for _, p := range s.Ports {
		if p.Protocol != "" && p.Protocol != "tcp" {
			return fmt.Errorf("ports: %s/%s: boxer publishes TCP ports", p.Published,
				p.Protocol)
		}
		published := p.Published
		if published == "" {
			published = "0"
		}
		if strings.Contains(published, "-") {
			return fmt.Errorf("ports: %s: name one port instead of a range", published)
		}
		ip := p.HostIP
		if strings.Contains(ip, ":") {
			ip = "[" + ip + "]"
		}
		if ip != "" {
			ip += ":"
		}
		svc.Publish = append(svc.Publish, fmt.Sprintf("%s%s:%d", ip, published, p.Target))
	}
	return nil
}

// makeVolume makes the directory of a named volume.
func (c *Converter) makeVolume(p *types.Project, name string) (string, error) {
	v := p.Volumes[name]
	if v.Driver != "" && v.Driver != "local" {
		return "", fmt.Errorf("volume %s: boxer has no driver %s", name, v.Driver)
	}
	full := v.Name
	if full == "" {
		full = p.Name + "_" + name
	}
	if device := v.DriverOpts["device"]; device != "" && v.DriverOpts["o"] == "bind" {
		return device, nil
	}
	dir := filepath.Join(c.Volumes, full)
	if _, err := os.Stat(dir); err != nil && bool(v.External) {
		return "", fmt.Errorf("volume %s is external, and %s is not there: make the directory", name, dir)
	}
	return dir, os.MkdirAll(dir, 0o755)
}
