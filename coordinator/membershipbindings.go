package coordinator

import "time"

// loadBindings reads the bindings of the last run. Without them the network works, but
// nodes that restart may get other addresses.
func (r *membership) loadBindings() {
	all, err := r.state.loadBindings()
	if err != nil {
		r.log.Error("names not loaded; nodes may get other addresses", "err", err)
	}
	for _, v := range all {
		if v.ID <= r.plan.max {
			r.bindings.release(v)
		}
	}
	r.bindings.dirty = false
}

// bindLocked binds the id of a member to its name.
func (r *membership) bindLocked(m Member, reclaimable bool) {
	if m.Name != OrdinalName(m.ID) {
		r.bindings.release(binding{Name: m.Name, ID: m.ID, Reclaimable: reclaimable})
	}
}

// mayReclaim reports whether a holder of the name may still reclaim its id in this run of
// the coordinator, and how much of the grace period is left.
func (r *membership) mayReclaim(name string) (left time.Duration, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bindings.reclaimable[name] == 0 || r.graceEnds.IsZero() {
		return 0, false
	}
	return max(0, time.Until(r.graceEnds)), true
}

// saveBindings writes the bindings for the next run if they have changed.
func (r *membership) saveBindings() {
	r.mu.Lock()
	dirty := r.bindings.dirty
	var all []binding
	if dirty {
		all = r.bindingsLocked()
	}
	r.mu.Unlock()
	if !dirty {
		return
	}
	err := r.state.saveBindings(all, false)
	if err != nil {
		r.mu.Lock()
		r.bindings.dirty = true // the next attempt may succeed
		r.mu.Unlock()
		if !r.saveFailed {
			r.log.Error("names not saved; after a crash nodes may get other addresses",
				"err", err)
		}
	}
	r.saveFailed = err != nil
}

// bindingsLocked returns the bindings to save: those of free ids, and those of the
// members, which may come back.
func (r *membership) bindingsLocked() []binding {
	all := r.bindings.list()
	for _, e := range r.byID {
		if e.Name != OrdinalName(e.ID) && r.bindings.byID[e.ID] == nil {
			all = append(all, binding{Name: e.Name, ID: e.ID, Reclaimable: true})
		}
	}
	r.bindings.dirty = false
	return all[max(0, len(all)-maxBindings):]
}
