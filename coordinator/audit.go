package coordinator

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"github.com/boxer-sandbox/boxer/transport"
)

// An AuditEvent is one line of the audit log, in JSON. It has no secrets.
type AuditEvent struct {
	Time time.Time `json:"time"`

	// Event is start, stop, join, rejoin, leave, refuse, evict, token-create,
	// token-revoke, policy, policy-error, key-rotate or admin.
	Event string `json:"event"`

	Node uint32 `json:"node,omitempty"`
	// of the node, as it asked for it; of the token
	Name   string        `json:"name,omitempty"`
	Addr   string        `json:"addr,omitempty"` // virtual IPv4 address
	Key    transport.Key `json:"key,omitzero"`
	Remote string        `json:"remote,omitempty"` // IP address and port
	Token  string        `json:"token,omitempty"`  // name of the node's token
	Tags   []string      `json:"tags,omitempty"`
	// of refuse, leave, evict, policy-error
	Reason string `json:"reason,omitempty"`

	Rules   *int   `json:"rules,omitempty"`   // of policy
	UID     *int   `json:"uid,omitempty"`     // of admin: the user
	Request string `json:"request,omitempty"` // of admin

	// Omitted refusals since the last one: a stranger cannot fill the disk.
	Omitted int `json:"omitted,omitempty"`
}

// Refusals that the audit log takes, per second and at once.
const (
	auditRefusals     = 10
	auditRefusalBurst = 100
)

// An auditLog appends events to a file. It opens the file again when another program has
// renamed it (logrotate(8)).
type auditLog struct {
	path string
	log  *slog.Logger

	mu       sync.Mutex
	file     *os.File
	failed   bool // the log says so
	refusals *rate.Limiter
	omitted  int
}

// openAudit opens the audit log at path; nil if path is empty.
func openAudit(path string, log *slog.Logger) (*auditLog, error) {
	if path == "" {
		return nil, nil
	}
	a := &auditLog{path: path, log: log,
		refusals: rate.NewLimiter(auditRefusals, auditRefusalBurst)}
	return a, a.openLocked()
}

func (a *auditLog) openLocked() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file = f
	return nil
}

// write appends an event. a may be nil.
func (a *auditLog) write(e AuditEvent) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.Time = time.Now().UTC()
	if e.Event == "refuse" {
		if !a.refusals.AllowN(e.Time, 1) {
			a.omitted++
			return
		}
		e.Omitted, a.omitted = a.omitted, 0
	}
	line, err := json.Marshal(e)
	if err == nil {
		_, err = a.file.Write(append(line, '\n'))
	}
	if err != nil && !a.failed {
		a.log.Error("audit log not written", "path", a.path, "err", err)
	}
	a.failed = err != nil
}

// reopen opens the file again if path leads to another one, or to none.
func (a *auditLog) reopen() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	mine, err := a.file.Stat()
	there, e := os.Stat(a.path)
	if err == nil && e == nil && os.SameFile(mine, there) {
		return
	}
	if err := a.openLocked(); err != nil && !a.failed {
		a.failed = true
		a.log.Error("audit log not opened again", "err", err)
	}
}

func (a *auditLog) close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.file.Close()
}

// member appends an event about a node.
func (a *auditLog) member(event string, m Member, remote, reason string) {
	a.write(AuditEvent{Event: event, Node: m.ID, Name: m.Name, Addr: m.Addr.String(),
		Key: m.Key, Remote: remote, Token: m.Token, Tags: m.Tags, Reason: reason})
}

// refused appends that a node, or an observer, was refused, if err says so.
func (a *auditLog) refused(c *session, h *hello, err error) {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		return
	}
	e := AuditEvent{Event: "refuse", Remote: c.remote.String(), Key: c.key,
		Reason: r.Error()}
	if name, err := CheckName(h.Name); err == nil {
		e.Name = name
	}
	a.write(e)
}
