package compose

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"

	"github.com/boxer-sandbox/boxer/project"
)

// setFiles sets volumes, secrets, configs and tmpfs: mounts in the service's own view of
// files.
func (c *Converter) setFiles(p *types.Project, s *types.ServiceConfig,
	svc *project.Service) error {
	var space project.Space
	if svc.Space != nil {
		space = *svc.Space
	}
	for _, v := range s.Volumes {
		m, err := c.mount(p, &v)
		if err != nil {
			return err
		}
		if space.Root != "" || m.Source != m.Target {
			space.Mounts = append(space.Mounts, m)
		}
	}
	for _, t := range s.Tmpfs {
		m, err := tmpfs(t)
		if err != nil {
			return err
		}
		space.Mounts = append(space.Mounts, m)
	}
	for _, ref := range s.Secrets {
		f, err := fileOf("secret", types.FileReferenceConfig(ref),
			types.FileObjectConfig(p.Secrets[ref.Source]), "/run/secrets", p)
		if err != nil {
			return err
		}
		space.Files = append(space.Files, f)
	}
	for _, ref := range s.Configs {
		f, err := fileOf("config", types.FileReferenceConfig(ref),
			types.FileObjectConfig(p.Configs[ref.Source]), "/", p)
		if err != nil {
			return err
		}
		space.Files = append(space.Files, f)
	}
	if space.Root == "" && len(space.Mounts) == 0 && len(space.Files) == 0 {
		return nil
	}
	if svc.Host != "" {
		return fmt.Errorf("it runs on %s, where volumes, secrets and configs do not get",
			svc.Host)
	}
	svc.Space = &space
	return nil
}

// mount returns the mount of a volume.
func (c *Converter) mount(p *types.Project,
	v *types.ServiceVolumeConfig) (m project.Mount,
	err error) {
	m = project.Mount{Source: v.Source, Target: path.Clean(v.Target),
		ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeBind:
		info, err := os.Stat(v.Source)
		if errors.Is(err, os.ErrNotExist) &&
			(v.Bind == nil || bool(v.Bind.CreateHostPath)) {
			return m, os.MkdirAll(v.Source, 0o755)
		}
		if err != nil {
			return m, fmt.Errorf("volume %s: %w", v.Target, err)
		}
		m.File = !info.IsDir()
		return m, nil
	case types.VolumeTypeVolume:
		if v.Source == "" {
			m.Source = "" // an anonymous one lives as long as the instance
			return m, nil
		}
		m.Source, err = c.makeVolume(p, v.Source)
		if err == nil && v.Volume != nil && v.Volume.Subpath != "" {
			m.Source = filepath.Join(m.Source, v.Volume.Subpath)
		}
		return m, err
	case types.VolumeTypeTmpfs:
		if m.Source = ""; v.Tmpfs != nil {
			m.Size = int64(v.Tmpfs.Size)
		}
		return m, nil
	}
	return m, fmt.Errorf("volume %s: boxer has no volumes of type %s", v.Target, v.Type)
}

// tmpfs reads an entry of the key tmpfs: PATH[:OPTION,...].
func tmpfs(text string) (m project.Mount, err error) {
	target, options, _ := strings.Cut(text, ":")
	m.Target = path.Clean(target)
	for _, o := range strings.Split(options, ",") {
		if size, ok := strings.CutPrefix(o, "size="); ok {
			if m.Size, err = units.RAMInBytes(size); err != nil {
				return m, fmt.Errorf("tmpfs %s: %w", text, err)
			}
		}
	}
	return m, nil
}

// fileOf returns the file of a secret or of a config.
func fileOf(kind string, ref types.FileReferenceConfig, from types.FileObjectConfig,
	dir string, p *types.Project) (f project.File, err error) {
	f = project.File{Target: ref.Target, UID: -1, GID: -1}
	if f.Target == "" {
		f.Target = ref.Source
	}
	if !path.IsAbs(f.Target) {
		f.Target = path.Join(dir, f.Target)
	}
	switch {
	case bool(from.External):
		return f, fmt.Errorf("%s %s is external: boxer keeps none; use file or environment", kind, ref.Source)
	case from.File != "":
		if f.Content, err = os.ReadFile(from.File); err != nil {
			return f, fmt.Errorf("%s %s: %w", kind, ref.Source, err)
		}
	case from.Environment != "":
		value, ok := p.Environment[from.Environment]
		if !ok {
			return f, fmt.Errorf("%s %s: the variable %s is not set", kind, ref.Source,
				from.Environment)
		}
		f.Content = []byte(value)
	default:
		f.Content = []byte(from.Content)
	}
	if ref.Mode != nil {
		f.Mode = uint32(*ref.Mode)
	}
	for text, to := range map[string]*int{ref.UID: &f.UID, ref.GID: &f.GID} {
		if text == "" {
			continue
		}
		if *to, err = strconv.Atoi(text); err != nil {
			return f, fmt.Errorf("%s %s: %q is not the number of a user or group", kind,
				ref.Source, text)
		}
	}
	return f, nil
}

// setUser sets as whom a service runs.
func setUser(s *types.ServiceConfig, image *Image, svc *project.Service) error {
	text := s.User
	if text == "" && image != nil {
		text = image.User
	}
	if text == "" || svc.Host != "" {
		return nil
	}
	passwd, group := "/etc/passwd", "/etc/group"
	if image != nil {
		passwd, group = filepath.Join(image.Root, passwd),
			filepath.Join(image.Root, group)
	}
	u, err := parseUser(text, passwd, group)
	if err != nil {
		return fmt.Errorf("user %q: %w", text, err)
	}
	for _, g := range s.GroupAdd {
		id, err := lookup(g, group)
		if err != nil {
			return fmt.Errorf("group_add %q: %w", g, err)
		}
		u.Groups = append(u.Groups, id)
	}
	me := project.User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	switch {
	case u.UID == me.UID && u.GID == me.GID && len(s.GroupAdd) == 0:
		return nil
	case me.UID != 0 && image != nil && u.UID == 0: // root of the user namespace
		return nil
	case me.UID != 0:
		return fmt.Errorf("user %q: only root can run programs of other users", text)
	}
	svc.User = u
	return nil
}

// parseUser reads USER[:GROUP], names or numbers.
func parseUser(text, passwd, group string) (*project.User, error) {
	name, groupName, _ := strings.Cut(text, ":")
	var u project.User
	line, err := find(passwd, name, 2)
	switch {
	case err == nil:
		fields := strings.Split(line, ":")
		uid, gid, err := number(fields[2]), number(fields[3]), error(nil)
		if uid < 0 || gid < 0 {
			return nil, fmt.Errorf("%s is malformed", passwd)
		}
		u.UID, u.GID = uint32(uid), uint32(gid)
		if u.Groups, err = groupsOf(fields[0], group); err != nil {
			return nil, err
		}
	case number(name) >= 0:
		u.UID = uint32(number(name))
	default:
		return nil, user.UnknownUserError(name)
	}
	if groupName != "" {
		if u.GID, err = lookup(groupName, group); err != nil {
			return nil, err
		}
	}
	return &u, nil
}

// number returns a number from 0, or -1.
func number(text string) int64 {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return -1
	}
	return int64(n)
}

// lookup returns the number of a group.
func lookup(name, file string) (uint32, error) {
	if n := number(name); n >= 0 {
		return uint32(n), nil
	}
	line, err := find(file, name, 2)
	if err != nil {
		return 0, user.UnknownGroupError(name)
	}
	return uint32(max(number(strings.Split(line, ":")[2]), 0)), nil
}

// find returns the line of passwd(5) or group(5) with that name or number.
func find(file, name string, id int) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) > id+1 && (fields[0] == name || fields[id] == name) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", os.ErrNotExist
}

// groupsOf returns the numbers of the groups that list a user.
func groupsOf(name, file string) (ids []uint32, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) == 4 && slices.Contains(strings.Split(fields[3], ","), name) {
			if n := number(fields[2]); n >= 0 {
				ids = append(ids, uint32(n))
			}
		}
	}
	return ids, nil
}
