package launcher

import (
	"fmt"

	"github.com/boxer-sandbox/boxer/rewrite"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// A Site is a system-call instruction in a file, and how package rewrite handles it.
type Site struct {
	Addr  uint64 `json:"address"`         // the instruction's address in the file
	Call  string `json:"call"`            // its name; empty: the number is not a constant
	Way   string `json:"way"`             // how it is rewritten, see package rewrite/plan
	Start uint64 `json:"start,omitempty"` // the first byte that is replaced
	Len   int    `json:"length,omitempty"`
	Why   string `json:"why,omitempty"` // it cannot be rewritten
	OK    bool   `json:"ok"`            // boxer takes every call that this instruction makes
}

// Sites lists the system-call instructions of a program or library.
func Sites(path string) ([]Site, error) {
	p, err := rewrite.PlanFile(path, rewriteRules(rewriteAbilities().Takes(syscalls.Table())))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var sites []Site
	for _, s := range p.Sites {
		site := Site{Addr: s.Addr, Way: s.Way.String(), Start: s.Start, Len: s.Len,
			Why: s.Why, OK: s.Why == ""}
		if s.Number >= 0 {
			site.Call = sandbox.CallName(uintptr(s.Number))
		}
		sites = append(sites, site)
	}
	return sites, nil
}
