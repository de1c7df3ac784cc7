package rewrite

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A planCache stores encoded plans in a directory, for later runs. It only saves time: an
// error there is not fatal, because the plan is then made again.
type planCache struct {
	dir    string
	wanted [sha256.Size]byte // hash of what plans depend on besides the file
}

// planVersion changes when package plan makes other plans, and when the format of a plan
// changes.
const planVersion = 2

// maxCached bounds the number of plans in the directory.
const maxCached = 512

// newPlanCache returns a cache in a directory, which it creates if it is missing. The
// directory must be accessible to the user alone. Otherwise newPlanCache returns nil.
func newPlanCache(dir string, table []byte) *planCache {
	if dir == "" || os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR ||
		int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return nil
	}
	return &planCache{dir, sha256.Sum256(append([]byte{planVersion}, table...))}
}

// path returns the path of a file's plan. The path depends on the file's ctime, so a
// changed file has another path.
func (c *planCache) path(id fileID) string {
	b := c.wanted[:]
	for _, n := range []uint64{id.dev, id.ino, uint64(id.size), uint64(id.changed.Sec),
		uint64(id.changed.Nsec)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	sum := sha256.Sum256(b)
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16]))
}

func (c *planCache) get(id fileID) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	b, err := os.ReadFile(c.path(id))
	if err != nil || !whole(b) {
		return nil, false
	}
	return b, true
}

func (c *planCache) put(id fileID, b []byte) {
	if c == nil {
		return
	}
	f, err := os.CreateTemp(c.dir, ".new-")
	if err != nil {
		return
	}
	_, err = f.Write(b)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), c.path(id))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	c.prune()
}

// prune removes the oldest half of the plans if there are too many.
func (c *planCache) prune() {
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) <= maxCached {
		return
	}
	age := func(e fs.DirEntry) time.Time {
		if info, err := e.Info(); err == nil {
			return info.ModTime()
		}
		return time.Time{}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return age(a).Compare(age(b)) })
	for _, e := range entries[:len(entries)/2] {
		os.Remove(filepath.Join(c.dir, e.Name()))
	}
}
