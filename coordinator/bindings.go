package coordinator

import (
	"container/list"
	"slices"
)

// maxBindings limits the free ids that stay bound to names. A binding takes at most about
// 200 bytes, so that all of them take about 3 MB.
const maxBindings = 16384

// A binding records that the id was last held under the name.
type binding struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`

	// Reclaimable is set if a member had the id when the binding was saved. That member
	// may come back with its ticket.
	Reclaimable bool `json:"held,omitempty"`
}

// bindings maps free ids to the names that held them last. So a node that restarts under
// its name gets its address back, as a host does from a DHCP server (RFC 2131 section
// 1.6). Ordinal names have no bindings. The caller holds membership.mu.
//
// An id is either here or held by a member, never both.
type bindings struct {
	byID   map[uint32]*list.Element
	byName map[string][]*list.Element // ids of the name; the one that was freed last is last
	// of *binding; the one that was freed first is first
	order *list.List

	// by name: number of reclaimable bindings, whose holders may come back to a
	// coordinator that has restarted
	reclaimable map[string]int
	dirty       bool // changed since the last save
}

func newBindings() *bindings {
	return &bindings{
		byID: make(map[uint32]*list.Element), byName: make(map[string][]*list.Element),
		order: list.New(), reclaimable: make(map[string]int),
	}
}

// release binds an id to the name that has just freed it. Beyond maxBindings it removes
// the oldest binding.
func (b *bindings) release(v binding) {
	b.forget(v.ID)
	for b.order.Len() >= maxBindings {
		b.forget(b.order.Front().Value.(*binding).ID)
	}
	e := b.order.PushBack(&v)
	b.byID[v.ID] = e
	b.byName[v.Name] = append(b.byName[v.Name], e)
	if v.Reclaimable {
		b.reclaimable[v.Name]++
	}
	b.dirty = true
}

// take returns the last id of the name, and removes its binding, since the id gets a
// holder again. It leaves reclaimable ids to their former holders.
func (b *bindings) take(name string) (id uint32, ok bool) {
	all := b.byName[name]
	for i := len(all) - 1; i >= 0; i-- {
		if v := all[i].Value.(*binding); !v.Reclaimable {
			b.forget(v.ID)
			return v.ID, true
		}
	}
	return 0, false
}

// oldest returns the id that was freed first, whatever its name, and removes its binding.
func (b *bindings) oldest() (id uint32, ok bool) {
	for e := b.order.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*binding); !v.Reclaimable {
			b.forget(v.ID)
			return v.ID, true
		}
	}
	return 0, false
}

// forget removes the binding of an id.
func (b *bindings) forget(id uint32) {
	e := b.byID[id]
	if e == nil {
		return
	}
	v := b.order.Remove(e).(*binding)
	delete(b.byID, id)
	b.dropClaim(v)
	all := b.byName[v.Name]
	if i := slices.Index(all, e); len(all) > 1 {
		b.byName[v.Name] = slices.Delete(all, i, i+1)
	} else {
		delete(b.byName, v.Name)
	}
	b.dirty = true
}

func (b *bindings) dropClaim(v *binding) {
	if !v.Reclaimable {
		return
	}
	v.Reclaimable = false
	if b.reclaimable[v.Name]--; b.reclaimable[v.Name] == 0 {
		delete(b.reclaimable, v.Name)
	}
}

// endGrace ends the time in which former holders may come back.
func (b *bindings) endGrace() {
	for e := b.order.Front(); e != nil && len(b.reclaimable) > 0; e = e.Next() {
		b.dropClaim(e.Value.(*binding))
	}
}

// list returns all bindings, the oldest first.
func (b *bindings) list() []binding {
	all := make([]binding, 0, b.order.Len())
	for e := b.order.Front(); e != nil; e = e.Next() {
		all = append(all, *e.Value.(*binding))
	}
	return all
}
