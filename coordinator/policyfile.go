package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/policy"
)

// textOutdated tells a node that it cannot join a network with a policy.
const textOutdated = "the network has a policy, which this node's version of boxer does not enforce; run the version of the coordinator"

// policyEvery is how often the coordinator looks at its policy file.
const policyEvery = time.Second

// A policySource is where the policy comes from: a file of the operator's, which is
// watched, or else the file beside the state file, which Admin.ApplyPolicy writes. After
// NewServer the goroutine of Server.maintain owns it, except for path and operators.
type policySource struct {
	path      string // empty: the policy is in memory only
	operators bool   // the file is the operator's: it has to be there, and is watched

	loaded  fileStamp // of the text that is in effect, or was refused
	seen    fileStamp // at the last look
	checked time.Duration
}

// A fileStamp changes when the file does.
type fileStamp struct {
	inode    uint64 // 0: there is no file
	modified unix.Timespec
	size     int64
}

func stampOf(path string) fileStamp {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return fileStamp{}
	}
	return fileStamp{st.Ino, st.Mtim, st.Size}
}

// newPolicySource returns the source of a coordinator's policy.
func newPolicySource(file string, state *State) policySource {
	if file != "" {
		return policySource{path: file, operators: true}
	}
	if state.path == "" {
		return policySource{}
	}
	return policySource{path: state.path + ".policy"}
}

// load reads the policy; nil if there is none.
func (p *policySource) load() (*policy.Policy, error) {
	if p.path == "" {
		return nil, nil
	}
	p.loaded = stampOf(p.path)
	p.seen = p.loaded
	f, err := os.Open(p.path)
	if errors.Is(err, fs.ErrNotExist) && !p.operators {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, policy.MaxText+1))
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return policy.Parse(p.path, string(text))
}

// changed reports whether the operator's file has another text, which has been the same
// for policyEvery: a file that is being written is not complete.
func (p *policySource) changed(up time.Duration) bool {
	if !p.operators || up-p.checked < policyEvery {
		return false
	}
	p.checked = up
	before := p.seen
	p.seen = stampOf(p.path)
	return p.seen != p.loaded && p.seen == before
}

// watchPolicy puts a changed policy file into effect. A text that is wrong, or a file
// that is gone, leaves the policy as it was.
func (s *Server) watchPolicy(up time.Duration) {
	if !s.policy.changed(up) {
		return
	}
	p, err := s.policy.load()
	if err != nil {
		s.log.Error("the changed policy is not used; the one before stays in effect",
			"err", err)
		s.audit.write(AuditEvent{Event: "policy-error", Reason: err.Error()})
		return
	}
	s.usePolicy(p)
}

// usePolicy puts a policy into effect.
func (s *Server) usePolicy(p *policy.Policy) {
	for _, c := range s.members.setPolicy(p) {
		_ = c.conn.CloseWithError(codeProtocol, textOutdated)
	}
	rules := 0
	if p != nil {
		rules = p.Rules()
	}
	s.log.Info("policy in effect", "rules", rules)
	s.audit.write(AuditEvent{Event: "policy", Rules: &rules})
}

// ApplyPolicy puts a policy into effect and stores it. It fails if the coordinator reads
// its policy from a file of the operator's.
func (s *Server) ApplyPolicy(name, text string) error {
	if s.cfg.PolicyFile != "" {
		return fmt.Errorf("the coordinator reads its policy from %s, and again whenever that changes; edit that file",
			s.cfg.PolicyFile)
	}
	p, err := policy.Parse(name, text)
	if err != nil {
		return err
	}
	s.policyMu.Lock() // so that file and effect are of the same call
	defer s.policyMu.Unlock()
	if path := s.policy.path; path != "" {
		if err := replaceFile(path, []byte(text)); err != nil {
			return err
		}
	}
	s.usePolicy(p)
	return nil
}

// Policy returns the text of the policy in effect, and whether there is one.
func (s *Server) Policy() (text string, ok bool) {
	s.members.mu.Lock()
	defer s.members.mu.Unlock()
	if p := s.members.given; p != nil {
		return p.String(), true
	}
	return "", false
}

// replaceFile writes a file of mode 0600 atomically.
func replaceFile(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write %s: %w", path, err)
	}
	return syncDir(path)
}

// ApplyPolicy puts a policy into effect; see Server.ApplyPolicy. name is how errors name
// the text.
func (a *Admin) ApplyPolicy(ctx context.Context, name, text string) error {
	var nothing struct{}
	return a.ask(ctx, "policy/apply", PolicyText{name, text, true}, &nothing)
}

// Policy returns the policy in effect.
func (a *Admin) Policy(ctx context.Context) (p PolicyText, err error) {
	err = a.ask(ctx, "policy/show", struct{}{}, &p)
	return p, err
}

// A PolicyText is the text of a policy.
type PolicyText struct {
	Name string `json:"name,omitempty"` // of the text, for errors; where it is stored
	Text string `json:"text"`
	Set  bool   `json:"set"` // there is a policy
}
