package project

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/boxer-sandbox/boxer/internal/vars"
)

// A Plan says what a project consists of. It is secret: environments and files may have
// passwords.
type Plan struct {
	Name     string
	Dir      string    // the project's directory, to which paths are relative
	Services []Service // in no particular order

	// Join is how the services' nodes join their network: a join URL, or @FILE. Empty:
	// the project has a network of its own, on this host.
	Join string
}

// A Service is a program that runs in a number of instances.
type Service struct {
	Name string // also the nodes' name, unless NodeName is set

	// Argv is the program with its arguments. Each is a template, see package vars.
	Argv []string
	Env  []string // NAME=value, a template each: the whole environment
	Dir  string   // working directory; empty: Plan.Dir

	NodeName string // a template; empty: Name
	Count    int    // instances, at least 0

	User  *User  // nil: the supervisor's
	Space *Space // nil: the host's files, as they are

	Publish []string // ports of this host: [ADDR:]HOSTPORT:PORT
	WaitFor []string // NAME[=N]: nodes that are to be there before the program starts
	// WaitTimeout bounds that wait, as a duration; empty: for ever.
	WaitTimeout string
	RunFlags    []string // further flags of boxer run

	Host string // empty: this host; otherwise as of boxer run --on

	DependsOn []Dependency
	Health    *Health // nil: none
	Restart   Restart

	StopSignal int           // number; 0: SIGTERM
	Grace      time.Duration // from StopSignal to SIGKILL
	Quiet      bool          // boxer up does not show its output
}

// User says as whom a program runs.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// The conditions of a Dependency.
const (
	Started   = "service_started"
	Healthy   = "service_healthy"
	Completed = "service_completed_successfully"
)

// A Dependency says what has to be before a service starts.
type Dependency struct {
	Service   string
	Condition string // Started, Healthy or Completed

	Restart  bool // restart the service when the other one is restarted
	Optional bool // start the service also when the condition cannot come true
}

// Health says how to find out whether a program works.
type Health struct {
	Argv          []string
	Interval      time.Duration
	Timeout       time.Duration
	Retries       int           // failures in a row that make an instance unhealthy
	StartPeriod   time.Duration // in which failures do not count
	StartInterval time.Duration // the interval during StartPeriod
}

// The policies of a Restart.
const (
	Never     = "no"
	Always    = "always"
	OnFailure = "on-failure"
)

// Restart says when a program that has ended is started again.
type Restart struct {
	Policy string        // Never, Always or OnFailure; empty: Never
	Max    int           // restarts, 0: without limit
	Delay  time.Duration // 0: 100 ms, doubled by each restart up to a minute
	Window time.Duration // a program that ran as long is a success; 0: 10 s
}

// Defaults of health checks and of stops, as docker compose has them.
const (
	DefaultGrace    = 10 * time.Second
	DefaultInterval = 30 * time.Second
	DefaultRetries  = 3
)

// hash identifies what an instance is made of: one with another hash is made anew.
func (s *Service) hash() string {
	c := *s
	c.Count, c.DependsOn, c.Restart, c.Quiet = 0, nil, Restart{}, false
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// elsewhere reports whether the service runs on another host.
func (s *Service) elsewhere() bool { return s.Host != "" }

// processes returns how many processes of boxer run the service has: on another host one
// of them looks after all instances.
func (s *Service) processes() int {
	if s.elsewhere() {
		return min(s.Count, 1)
	}
	return s.Count
}

// service returns the service with that name, nil if there is none.
func (p *Plan) service(name string) *Service {
	i := slices.IndexFunc(p.Services, func(s Service) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Services[i]
}

// Check returns what is wrong with a plan: dependencies on unknown services, or on each
// other, or on the health of a service without a health check, and templates that have
// errors.
func (p *Plan) Check() error {
	for i := range p.Services {
		s := &p.Services[i]
		for _, d := range s.DependsOn {
			to := p.service(d.Service)
			switch {
			case to == nil && !d.Optional:
				return fmt.Errorf("service %s depends on %s, which the project does not have",
					s.Name, d.Service)
			case to != nil && d.Condition == Healthy && to.Health == nil:
				return fmt.Errorf("service %s waits until %s is healthy, which has no healthcheck",
					s.Name, d.Service)
			}
		}
		if _, err := s.fill(p.Name, 1); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	_, err := p.order()
	return err
}

// order returns the names of the services, each after those on which it depends.
func (p *Plan) order() ([]string, error) {
	var order, path []string
	var visit func(name string) error
	visit = func(name string) error {
		s := p.service(name)
		if s == nil || slices.Contains(order, name) {
			return nil
		}
		if i := slices.Index(path, name); i >= 0 {
			return fmt.Errorf("services depend on each other: %v", append(path[i:], name))
		}
		path = append(path, name)
		for _, d := range s.DependsOn {
			if err := visit(d.Service); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		order = append(order, name)
		return nil
	}
	for _, s := range p.Services {
		if err := visit(s.Name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// filled are the texts of a service for one instance.
type filled struct {
	argv, env []string
	node      string
}

// fill fills the templates of a service for an instance.
func (s *Service) fill(project string, index int) (f filled, err error) {
	v := vars.Values{Index: index, Count: s.Count, Service: s.Name, Project: project}
	for _, text := range slices.Concat(s.Argv, s.Env, []string{s.NodeName}) {
		if vars.NeedsMember(text) {
			return f, fmt.Errorf("template %q: use Index, Count, Service and Project: the node is not known yet", text)
		}
	}
	if f.argv, err = vars.FillAll(s.Argv, v); err != nil {
		return f, err
	}
	if f.env, err = vars.FillAll(s.Env, v); err != nil {
		return f, err
	}
	if f.node = s.Name; s.NodeName != "" {
		f.node, err = vars.Fill(s.NodeName, v)
	}
	return f, err
}

// instanceName returns the name of an instance, from 1.
func instanceName(service string, index int) string {
	return service + "-" + strconv.Itoa(index)
}
