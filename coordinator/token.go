package coordinator

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// A Token admits its bearer without tags, under any name that no other token binds. The
// join URL that the coordinator prints has one. The state file has its secret, so that
// the URL can be printed again.
type Token struct {
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// String returns "[token]". Only the field Secret reveals the token.
func (t Token) String() string { return "[token]" }

// GoString is String.
func (t Token) GoString() string { return t.String() }

func (t Token) valid(now time.Time) bool {
	return t.Expires.IsZero() || now.Before(t.Expires)
}

// DefaultToken is the name of the tokens in the join URLs that the coordinator prints.
const DefaultToken = "default"

// A TokenInfo describes a named token. It has no secret.
type TokenInfo struct {
	Name string   `json:"name"`
	Tags []string `json:"tags,omitempty"` // of the nodes that join with it, for policies

	// Binds are the names of nodes that belong to the token: only with it, or with
	// another token that binds the name, a node joins under that name; and with it a node
	// joins under no other name.
	Binds []string `json:"binds,omitempty"`

	// shows the network's status, admits nobody
	Status  bool      `json:"status,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Uses    int       `json:"uses,omitempty"`   // nodes that may join; zero: any number
	Used    int       `json:"used,omitempty"`   // nodes that have joined, if Uses is set
	Revoked time.Time `json:"revoked,omitzero"` // zero: not
}

// State returns "valid", "revoked", "expired" or "used up".
func (t TokenInfo) State(now time.Time) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Expires.IsZero() && !now.Before(t.Expires):
		return "expired"
	case t.Uses > 0 && t.Used >= t.Uses:
		return "used up"
	}
	return "valid"
}

// A namedToken is a TokenInfo with what only the state file has.
type namedToken struct {
	TokenInfo
	ID   string `json:"id"`   // in tickets; no other token gets it
	Hash []byte `json:"hash"` // SHA-256 of the secret

	// UsedBy are the nodes that have joined, if Uses is set: all of them while the token
	// admits others, then the last few. A node that repeats its join, because the answer
	// was lost, counts once.
	UsedBy []transport.Key `json:"used_by,omitempty"`
}

// Limits of tokens.
const (
	maxTokens  = 4096  // of a network
	maxUses    = 10000 // TokenInfo.Uses
	maxTags    = 16    // of one token
	maxBinds   = 64    // of one token
	maxEvicted = 16384 // keys

	// maxLastUses is how many nodes a token remembers that is used up.
	maxLastUses = 16
)

// A grant is what a token gives to its bearer.
type grant struct {
	id     string // namedToken.ID; empty: a default token
	name   string
	tags   []string
	binds  []string
	status bool
}

func (t *namedToken) grant() grant {
	return grant{t.ID, t.Name, t.Tags, t.Binds, t.Status}
}

// Token returns the default token that is valid for the longest time.
func (s *State) Token() (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best Token
	for _, t := range s.file.Tokens {
		if t.valid(time.Now()) && (best.Secret == "" || !best.Expires.IsZero() &&
			(t.Expires.IsZero() || t.Expires.After(best.Expires))) {
			best = t
		}
	}
	if best.Secret == "" {
		return best, fmt.Errorf("%w: the coordinator has no valid default token",
			ErrExpired)
	}
	return best, nil
}

// AddToken creates another default token, which is valid for ttl, or without end if ttl
// is zero.
func (s *State) AddToken(ttl time.Duration) (Token, error) {
	t := Token{Secret: rand.Text()}
	if ttl != 0 {
		t.Expires = time.Now().Add(ttl)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Tokens = append(slices.Clone(s.file.Tokens), t)
	return t, s.saveLocked()
}

// addNamedToken creates a token and returns its secret, of which the state keeps only a
// hash.
func (s *State) addNamedToken(info TokenInfo, now time.Time) (secret string, err error) {
	if err := info.check(now); err != nil {
		return "", err
	}
	info.Created, info.Used, info.Revoked = now.UTC().Truncate(time.Second), 0,
		time.Time{}
	secret = rand.Text()
	hash := sha256.Sum256([]byte(secret))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.file.Named) >= maxTokens {
		return "", fmt.Errorf("the network has %d tokens, the most is %d; remove some by token revoke --evict",
			len(s.file.Named), maxTokens)
	}
	if s.namedLocked(info.Name) != nil {
		return "", fmt.Errorf("token %s: there is one of that name; choose another name, or remove it by token revoke --evict %s",
			info.Name, info.Name)
	}
	before := s.file.Named
	s.file.Named = append(slices.Clone(before),
		namedToken{TokenInfo: info, ID: rand.Text()[:12], Hash: hash[:]})
	if err := s.saveLocked(); err != nil {
		s.file.Named = before
		return "", err
	}
	return secret, nil
}

// check returns an error if the description is not one of a new token.
func (t *TokenInfo) check(now time.Time) error {
	t.Name = strings.ToLower(t.Name)
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("token %q: %w", clip(t.Name, maxLabel),
			fmt.Errorf(format, args...))
	}
	switch {
	case !isLabel(t.Name):
		return wrong("want a name of 1 to %d lower-case letters, digits and hyphens",
			maxLabel)
	case t.Name == DefaultToken:
		return wrong("the tokens of the join URLs that the coordinator prints have that name; choose another")
	case len(t.Tags) > maxTags:
		return wrong("%d tags, the most is %d", len(t.Tags), maxTags)
	case len(t.Binds) > maxBinds:
		return wrong("%d bound names, the most is %d", len(t.Binds), maxBinds)
	case t.Uses < 0 || t.Uses > maxUses:
		return wrong("%d uses: want 1 to %d, or 0 for any number", t.Uses, maxUses)
	case !t.Expires.IsZero() && !t.Expires.After(now):
		return wrong("it would expire before it is created; want a lifetime such as 1h")
	case t.Status && (len(t.Tags) > 0 || len(t.Binds) > 0 || t.Uses > 0):
		return wrong("a status token admits no node, so it has no tags, names or uses")
	}
	for _, tag := range t.Tags {
		if err := policy.CheckTag(tag); err != nil {
			return wrong("%w", err)
		}
	}
	for i, name := range t.Binds {
		name, err := CheckName(name)
		if err != nil {
			return wrong("%w", err)
		}
		t.Binds[i] = name
	}
	return nil
}

// namedLocked returns the named token, or nil.
func (s *State) namedLocked(name string) *namedToken {
	for i := range s.file.Named {
		if s.file.Named[i].Name == name {
			return &s.file.Named[i]
		}
	}
	return nil
}

// tokens describes all tokens, the default ones first, as one.
func (s *State) tokens() []TokenInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []TokenInfo
	for i, t := range s.file.Tokens {
		if d := (TokenInfo{Name: DefaultToken, Expires: t.Expires}); i == 0 {
			all = append(all, d)
		} else if t.Expires.IsZero() || !all[0].Expires.IsZero() &&
			t.Expires.After(all[0].Expires) {
			all[0] = d
		}
	}
	for _, t := range s.file.Named {
		all = append(all, t.TokenInfo)
	}
	return all
}

// revokeToken makes a token admit nobody any more. With forget, the state forgets it: the
// tickets of nodes that joined with it are not accepted either, and its names are free.
// The grant has a name if there is such a token. Then it is revoked, also if the state
// cannot be saved and revokeToken fails; it can be called again to save the state.
func (s *State) revokeToken(name string, forget bool, now time.Time) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == DefaultToken {
		s.file.Tokens = []Token{}
		s.file.DefaultEvicted = s.file.DefaultEvicted || forget
		return grant{name: DefaultToken}, s.saveLocked()
	}
	t := s.namedLocked(name)
	if g, ok := s.unsaved[name]; t == nil && ok {
		return g, s.saveLocked()
	}
	if t == nil {
		return grant{}, fmt.Errorf("token %q: there is none of that name; see boxer coordinator token list",
			clip(name, maxLabel))
	}
	g := t.grant()
	s.file.Named = slices.Clone(s.file.Named)
	if forget {
		s.file.Named = slices.DeleteFunc(s.file.Named,
			func(t namedToken) bool { return t.ID == g.id })
	} else if t = s.namedLocked(name); t.Revoked.IsZero() {
		t.Revoked = now.UTC().Truncate(time.Second)
	}
	err := s.saveLocked()
	if err != nil && forget {
		if s.unsaved == nil {
			s.unsaved = make(map[string]grant)
		}
		s.unsaved[name] = g
	}
	return g, err
}

// forgetUsesLocked drops keys in UsedBy that are not needed any more: a token that is
// revoked or has expired admits nobody, and one that is used up only who repeats its
// join.
func (s *State) forgetUsesLocked(now time.Time) {
	for i := range s.file.Named {
		switch t := &s.file.Named[i]; t.State(now) {
		case "revoked", "expired":
			t.UsedBy = nil
		case "used up":
			t.UsedBy = slices.Clone(t.UsedBy[max(len(t.UsedBy)-maxLastUses, 0):])
		}
	}
}

// admits returns what the token of that secret gives. It compares the secret with all
// tokens: its duration depends neither on which one matches nor on where they differ.
func (s *State) admits(secret string, now time.Time) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := sha256.Sum256([]byte(secret))
	known, good := 0, 0
	for _, t := range s.file.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		match := subtle.ConstantTimeCompare(given[:], want[:])
		known |= match
		if t.valid(now) {
			good |= match
		}
	}
	named := 0 // 1 + the index of the one that matches
	for i := range s.file.Named {
		match := subtle.ConstantTimeCompare(given[:], s.file.Named[i].Hash)
		named = subtle.ConstantTimeSelect(match, i+1, named)
	}
	switch {
	case good == 1:
		return grant{name: DefaultToken}, nil
	case known == 1:
		return grant{}, refuse(codeExpired, "ask for a new join URL")
	case named == 0:
		return grant{}, refuse(codeToken, "use the current join URL of this coordinator")
	}
	t := &s.file.Named[named-1]
	switch state := t.State(now); {
	case state == "revoked":
		return grant{}, refuse(codeToken,
			"the token %s was revoked; ask for a new join URL",
			t.Name)
	case state == "expired":
		return grant{}, refuse(codeExpired, "the token %s; ask for a new join URL", t.Name)
	}
	return t.grant(), nil
}

// use admits a node by a grant, at last: it counts the use, and fails if the token has
// none left, or was revoked meanwhile. If it fails, nothing is counted.
func (s *State) use(g grant, key transport.Key, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkLocked(g, key); err != nil || g.id == "" {
		return err
	}
	t := s.namedLocked(g.name)
	switch {
	case !t.Revoked.IsZero():
		return refuse(codeToken, "the token %s was revoked; ask for a new join URL", t.Name)
	case t.Uses == 0 || slices.Contains(t.UsedBy, key):
		return nil
	case t.State(now) == "used up":
		return refuse(codeToken, "the token %s admits %d nodes, and so many have joined; ask for a new join URL",
			t.Name, t.Uses)
	}
	before := t.UsedBy
	t.UsedBy = append(slices.Clone(before), key)
	t.Used++
	if err := s.saveLocked(); err != nil {
		t.UsedBy = before
		t.Used--
		return refuse(codeBusy, "the coordinator cannot write its state file, which counts the uses of the token; its log has the cause")
	}
	return nil
}

// checkLocked returns an error if nodes with the grant, or with that key, were evicted.
func (s *State) checkLocked(g grant, key transport.Key) error {
	if slices.Contains(s.file.Evicted, key) {
		return refuse(codeEvicted, "an operator has evicted this node; restart it to join as a new one")
	}
	if g.id == "" {
		if s.file.DefaultEvicted {
			return refuse(codeEvicted, "the join URL with which the node joined was revoked; restart it with another one")
		}
		return nil
	}
	if t := s.namedLocked(g.name); t == nil || t.ID != g.id {
		return refuse(codeEvicted, "the token with which the node joined was revoked; restart it with another one")
	}
	return nil
}

// grantOf returns the grant of the token with that id, with which a node joined earlier.
func (s *State) grantOf(id string, key transport.Key) (grant, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := grant{id: id}
	if id == "" {
		g.name = DefaultToken
	}
	for i := range s.file.Named {
		if t := &s.file.Named[i]; t.ID == id {
			g = t.grant()
		}
	}
	return g, s.checkLocked(g, key)
}

// mayName returns an error unless a node with the grant may have the name.
func (s *State) mayName(g grant, name string) error {
	if len(g.binds) > 0 && !slices.Contains(g.binds, name) {
		return refuse(codeToken, "the token %s admits nodes named %s only; use --name",
			g.name, strings.Join(g.binds, " or "))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.file.Named {
		if t := &s.file.Named[i]; slices.Contains(t.Binds, name) &&
			!slices.Contains(g.binds, name) {
			return refuse(codeToken, "the name %s is bound to another token; join with that one, or under another name", name)
		}
	}
	return nil
}

// errEvictedFull means that the state has no room for the key of another evicted node.
var errEvictedFull = errors.New("the coordinator's state has no room for more evicted nodes; start the coordinator with a new --state file, and give the new join URL to the nodes that are to stay")

// evict records that tickets of these keys are not accepted any more.
func (s *State) evict(keys []transport.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.file.Evicted
	all := slices.Clone(before)
	for _, k := range keys {
		if !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	if len(all) > maxEvicted {
		return errEvictedFull
	}
	s.file.Evicted = all
	if err := s.saveLocked(); err != nil {
		s.file.Evicted = before
		return err
	}
	return nil
}
