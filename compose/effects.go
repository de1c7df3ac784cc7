package compose

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// known are the keys of a service that have an effect, or none that could be missed: all
// ports of a node can be reached without expose, and labels and comments are for readers.
var known = []string{"annotations", "attach", "command", "configs", "depends_on",
	"deploy",
	"develop", "entrypoint", "env_file", "environment", "expose", "extends",
	"healthcheck",
	"image", "init", "label_file", "labels", "networks", "ports", "profiles", "provider",
	"pull_policy", "restart", "scale", "secrets", "stop_grace_period", "stop_signal", "tmpfs",
	"user", "volumes", "working_dir"}

// knownDeploy are those of deploy.
var knownDeploy = []string{"labels", "replicas", "restart_policy"}

// withoutEffect returns the keys of a service that have no effect here.
func withoutEffect(s *types.ServiceConfig) []string {
	keys := setKeys(reflect.ValueOf(*s))
	if s.Deploy != nil {
		for _, k := range setKeys(reflect.ValueOf(*s.Deploy)) {
			if !slices.Contains(knownDeploy, k) &&
				!(k == "mode" && s.Deploy.Mode == "replicated") {
				keys = append(keys, "deploy."+k)
			}
		}
	}
	for name, n := range s.Networks {
		if n != nil && (n.Ipv4Address != "" || n.Ipv6Address != "") {
			keys = append(keys, "networks."+name+" (addresses)")
		}
	}
	for k := range s.Extensions {
		if k == "x-boxer" || strings.HasPrefix(k, "x-") {
			continue
		}
		keys = append(keys, k)
	}
	keys = slices.DeleteFunc(keys, func(k string) bool { return slices.Contains(known, k) })
	slices.Sort(keys)
	return slices.Compact(keys)
}

// setKeys returns the keys of the fields that a file has set.
func setKeys(v reflect.Value) (keys []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case f.Anonymous:
			keys = append(keys, setKeys(v.Field(i))...)
		case key == "" || key == "-" || strings.Contains(options, "inline"):
		case key != "name" && !v.Field(i).IsZero() && !isEmpty(v.Field(i)):
			keys = append(keys, key)
		}
	}
	return keys
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice:
		return v.Len() == 0
	}
	return false
}

// tellEffects tells which keys have no effect, each once, with the services that have it.
func tellEffects(p *types.Project, tell func(string)) {
	services := map[string][]string{}
	for name, s := range p.Services {
		for _, key := range withoutEffect(&s) {
			services[key] = append(services[key], name)
		}
	}
	var keys []string
	for key := range services {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		slices.Sort(services[key])
		tell(fmt.Sprintf("%s has no effect here (service %s)", key,
			strings.Join(services[key], ", ")))
	}
	if len(p.Models) > 0 {
		tell("models have no effect here")
	}
	if len(p.Jobs) > 0 {
		tell("jobs have no effect here")
	}
	if isolates(p) {
		tell("networks do not separate services here: all are in one network")
	}
}

// isolates reports whether some services have no network in common with others.
func isolates(p *types.Project) bool {
	for name := range p.Networks {
		for _, s := range p.Services {
			if _, in := s.Networks[name]; !in && len(s.Networks) > 0 {
				return true
			}
		}
	}
	return false
}
