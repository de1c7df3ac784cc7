package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// AdminSocket returns the path of the Unix socket of the coordinator with that state
// file, for NewAdmin.
func AdminSocket(stateFile string) string { return stateFile + ".sock" }

// maxAdminBody limits a request to the administration socket, in bytes.
const maxAdminBody = 1 << 20

// serveAdmin serves the administration socket until ctx ends. Without it the coordinator
// works, so that an error is only logged.
func (s *Server) serveAdmin(ctx context.Context) {
	l, err := listenAdmin(s.cfg.AdminSocket)
	if err != nil {
		s.log.Error("no administration socket: boxer coordinator token, evict and policy do not reach this coordinator",
			"path", s.cfg.AdminSocket, "err", err)
		return
	}
	server := &http.Server{Handler: s.audited(s.adminHandler()), ConnContext: withUser,
		ReadTimeout:  10 * time.Second,
		WriteTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("administration socket ended", "err", err)
	}
}

// An adminListener accepts connections of this user and of root only.
type adminListener struct {
	*net.UnixListener
	path string
	made os.FileInfo // the socket
}

// listenAdmin makes the socket. It replaces one that another coordinator has left.
func listenAdmin(path string) (*adminListener, error) {
	short, done, err := shortPath(path)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := unix.Unlink(short); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("remove %s: %w", path, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its name is short, and another coordinator may have it
	a := &adminListener{UnixListener: l, path: path}
	if err = os.Chmod(path, 0o600); err == nil {
		a.made, err = os.Lstat(path)
	}
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	return a, nil
}

// shortPath returns a path to the same file that fits into a socket address, which is
// limited to 108 bytes (unix(7)). It is valid until done is called.
func shortPath(path string) (short string, done func(), err error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)),
		func() { _ = dir.Close() }, nil
}

// Accept returns the next connection of this user or of root. The mode of the socket
// keeps others out; between bind(2) and chmod(2) it does not.
func (a *adminListener) Accept() (net.Conn, error) {
	for {
		c, err := a.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if uid, err := peerUser(c); err == nil && (uid == 0 || int(uid) == os.Geteuid()) {
			return userConn{c, int(uid)}, nil
		}
		_ = c.Close()
	}
}

// Close ends the listener, and removes the socket unless another coordinator has
// replaced it.
func (a *adminListener) Close() error {
	if there, err := os.Lstat(a.path); err == nil && os.SameFile(there, a.made) {
		_ = os.Remove(a.path)
	}
	return a.UnixListener.Close()
}

// A userConn is a connection of a user.
type userConn struct {
	net.Conn
	uid int
}

// userKey is the key of the user in a request's context.
type userKey struct{}

func withUser(ctx context.Context, c net.Conn) context.Context {
	if u, ok := c.(userConn); ok {
		ctx = context.WithValue(ctx, userKey{}, u.uid)
	}
	return ctx
}

// audited records who asks for what.
func (s *Server) audited(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := AuditEvent{Event: "admin", Request: clip(r.URL.Path, maxText)}
		if uid, ok := r.Context().Value(userKey{}).(int); ok {
			e.UID = &uid
		}
		s.audit.write(e)
		h.ServeHTTP(w, r)
	})
}

// peerUser returns the user at the other end (SO_PEERCRED, unix(7)).
func peerUser(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var e error
	err = raw.Control(func(fd uintptr) {
		cred, e = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, e); err != nil {
		return 0, err
	}
	return cred.Uid, nil
}

// A NewToken asks for a token.
type NewToken struct {
	TokenInfo
	TTL time.Duration `json:"ttl_ns,omitempty"` // zero: it does not expire
}

// A CreatedToken is a new token, and the only place where its secret is.
type CreatedToken struct {
	URL    string    `json:"url"` // the join URL with the secret
	Secret string    `json:"secret"`
	Token  TokenInfo `json:"token"`

	// Holders are the nodes that have a name which the token binds, and joined without
	// it. They keep it until they leave.
	Holders []Member `json:"holders,omitempty"`
}

// A RevokeRequest names a token to revoke.
type RevokeRequest struct {
	Name  string `json:"name"`
	Evict bool   `json:"evict,omitempty"` // evict the nodes that joined with it
}

// An EvictRequest names nodes to evict; see Server.Evict.
type EvictRequest struct {
	Node string `json:"node"`
}

// adminError is the body of an answer that is not 200.
type adminError struct {
	Error string `json:"error"`
}

// adminHandler serves what Admin asks.
func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token/create", answer(s.createToken))
	mux.HandleFunc("POST /token/list", answer(func(struct{}) ([]TokenInfo, error) {
		return s.cfg.State.tokens(), nil
	}))
	mux.HandleFunc("POST /token/revoke", answer(func(q RevokeRequest) ([]Member, error) {
		return s.RevokeToken(q.Name, q.Evict)
	}))
	mux.HandleFunc("POST /policy/apply", answer(func(q PolicyText) (struct{}, error) {
		return struct{}{}, s.ApplyPolicy(q.Name, q.Text)
	}))
	mux.HandleFunc("POST /policy/show", answer(func(struct{}) (PolicyText, error) {
		text, set := s.Policy()
		return PolicyText{s.policy.path, text, set}, nil
	}))
	mux.HandleFunc("POST /evict", answer(func(q EvictRequest) ([]Member, error) {
		return s.Evict(q.Node)
	}))
	return mux
}

// answer makes a handler of a function from the request's body to the answer's.
func answer[Q, A any](f func(Q) (A, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		var a any
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
		d.DisallowUnknownFields()
		err := d.Decode(&q)
		if err == nil {
			a, err = f(q)
		} else {
			err = fmt.Errorf("the request is not understood; run the version of boxer that the coordinator runs: %w", err)
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			a = adminError{err.Error()}
		}
		_ = json.NewEncoder(w).Encode(a) // an error means that the reader has gone
	}
}

// createToken creates a token and its join URL.
func (s *Server) createToken(q NewToken) (a CreatedToken, err error) {
	now := time.Now()
	if q.TTL < 0 {
		return a, fmt.Errorf("token %q: a lifetime of %v: want one such as 1h", q.Name, q.TTL)
	}
	if q.TTL > 0 {
		q.Expires = now.Add(q.TTL).UTC().Truncate(time.Second)
	}
	if err := checkHostPort(s.cfg.Host); err != nil {
		return a, fmt.Errorf("join URL for %q: %w", s.cfg.Host, err)
	}
	secret, err := s.cfg.State.addNamedToken(q.TokenInfo, now)
	if err != nil {
		return a, err
	}
	s.audit.write(AuditEvent{Event: "token-create", Name: q.Name, Tags: q.Tags})
	url := JoinURL{Token: secret, Host: s.cfg.Host, Pin: s.cfg.State.Pin()}
	a = CreatedToken{URL: url.String(), Secret: secret, Token: q.TokenInfo}
	for _, name := range q.Binds {
		for _, m := range s.members.named(name) {
			m.Paths, m.About = nil, nil
			a.Holders = append(a.Holders, m)
		}
	}
	return a, nil
}

// An Admin administers a running coordinator by its Unix socket.
type Admin struct {
	path   string
	client *http.Client
}

// NewAdmin returns an Admin for the socket at path. It connects with the first request.
func NewAdmin(path string) *Admin {
	return &Admin{path, &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			short, done, err := shortPath(path)
			if err != nil {
				return nil, err
			}
			defer done()
			var d net.Dialer
			return d.DialContext(ctx, "unix", short)
		}, DisableKeepAlives: true}}}
}

// ask sends a request and decodes the answer.
func (a *Admin) ask(ctx context.Context, what string, question, result any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://coordinator/"+what,
		bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := a.client.Do(r)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return fmt.Errorf("no coordinator has the administration socket %s: %w; start it, or name its state file with --state FILE",
			a.path, ErrNotRunning)
	case errors.Is(err, unix.EACCES), errors.Is(err, io.EOF),
		errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("administration socket %s: it serves the coordinator's own user and root only: %w",
			a.path, err)
	case err != nil:
		return fmt.Errorf("administration socket %s: %w", a.path, err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, maxStateFile))
	switch resp.StatusCode {
	case http.StatusOK:
		return d.Decode(result)
	case http.StatusNotFound:
		return fmt.Errorf("the coordinator does not know %s; run the same version of boxer on both", what)
	}
	var e adminError
	if err := d.Decode(&e); err != nil || e.Error == "" {
		return fmt.Errorf("administration socket %s: %s", a.path, resp.Status)
	}
	return errors.New(e.Error)
}

// CreateToken creates a token.
func (a *Admin) CreateToken(ctx context.Context, q NewToken) (t CreatedToken, err error) {
	err = a.ask(ctx, "token/create", q, &t)
	return t, err
}

// Tokens describes all tokens.
func (a *Admin) Tokens(ctx context.Context) (all []TokenInfo, err error) {
	err = a.ask(ctx, "token/list", struct{}{}, &all)
	return all, err
}

// RevokeToken revokes a token as Server.RevokeToken does.
func (a *Admin) RevokeToken(ctx context.Context, name string, evict bool) (gone []Member,
	err error) {
	err = a.ask(ctx, "token/revoke", RevokeRequest{name, evict}, &gone)
	return gone, err
}

// Evict evicts nodes as Server.Evict does.
func (a *Admin) Evict(ctx context.Context, node string) (gone []Member, err error) {
	err = a.ask(ctx, "evict", EvictRequest{node}, &gone)
	return gone, err
}
