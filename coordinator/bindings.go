package coordinator

import (
	"container/list"
	"slices"
)

// maxBindings bounds the free ids that are remembered for their names. A binding
// takes at most some 200 bytes, so all of them take about 3 MB.
const maxBindings = 16384

// A binding says that the id was held last under the name.
type binding struct {
	Name string `json:"name"`
	ID   uint32 `json:"id"`

	// Held is set where a member had the id when the binding was saved: it may
	// come back with its ticket.
	Reclaimable bool `json:"held,omitempty"`
}

// bindings remember free ids by the name that held them last, so that a node that
// is started again under its name gets its address back, as a host does from a
// DHCP server (RFC 2131 section 1.6). Ordinal names are not remembered. The caller
// holds roster.mu.
//
// An id is here or a member's, never both.
type bindings struct {
	byID   map[uint32]*list.Element
	byName map[string][]*list.Element // the id that was freed last is the last one
	// of *binding; the one that was freed first is the first one
	order *list.List

	// held counts, by name, the bindings with Held: their holders may come back
	// to a coordinator that was started anew.
	reclaimable map[string]int
	dirty       bool // changed since the last save
}

func newBindings() *bindings {
	return &bindings{
		byID: make(map[uint32]*list.Element), byName: make(map[string][]*list.Element),
		order: list.New(), reclaimable: make(map[string]int),
	}
}

// release remembers an id that the name has just left. Beyond maxBindings the
// oldest binding is forgotten.
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

// take returns the id that was the name's last, and forgets it, since it gets a
// holder again. Ids whose holders may come back are left for them.
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

// oldest returns the id that was freed first, whatever name it is remembered for,
// and forgets it.
func (b *bindings) oldest() (id uint32, ok bool) {
	for e := b.order.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*binding); !v.Reclaimable {
			b.forget(v.ID)
			return v.ID, true
		}
	}
	return 0, false
}

// forget makes an id nobody's.
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

// settle ends the time in which holders may come back.
func (b *bindings) endGrace() {
	for e := b.order.Front(); e != nil && len(b.reclaimable) > 0; e = e.Next() {
		b.dropClaim(e.Value.(*binding))
	}
}

// list returns all bindings, oldest first.
func (b *bindings) list() []binding {
	all := make([]binding, 0, b.order.Len())
	for e := b.order.Front(); e != nil; e = e.Next() {
		all = append(all, *e.Value.(*binding))
	}
	return all
}
