package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/worker/repo"
)

// caches are the volumes that outlive the build.
type caches struct {
	e      *engine
	mu     sync.Mutex
	byName map[string]*cache
}

type cache struct {
	made  func() (driver.VolumeID, bool, error)
	begin sync.Once
}

// get returns the cache of a key.
func (c *caches) get(key string) *cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := cacheName(c.e.cfg.Project, key)
	if c.byName[name] == nil {
		one := &cache{}
		var fresh bool
		made := sync.OnceValues(func() (driver.VolumeID, error) {
			id, isNew, err := c.e.openCache(name, key)
			fresh = isNew
			return id, err
		})
		one.made = func() (driver.VolumeID, bool, error) {
			id, err := made()
			return id, fresh, err
		}
		c.byName[name] = one
	}
	return c.byName[name]
}

// volume returns the volume of a cache, which the first call finds or makes.
func (c *caches) volume(key string) (driver.VolumeID, error) {
	id, _, err := c.get(key).made()
	return id, err
}

// open lets the user of a step write to caches that are new.
func (c *caches) open(ctx context.Context, p *prep) error {
	if isRoot(p.step.Container.User) {
		return nil
	}
	var errs []error
	for _, one := range p.step.Cache {
		cache := c.get(one.Key)
		if _, fresh, _ := cache.made(); fresh {
			cache.begin.Do(func() {
				errs = append(errs, c.e.copyEmpty(ctx, p.task, cachePath(one), repo.Options{DirMode: 0o777}))
			})
		}
	}
	return errors.Join(errs...)
}

// openCache makes a cache's volume, or finds it. A cache has no label of the build, for it outlives it.
func (e *engine) openCache(name, key string) (id driver.VolumeID, fresh bool, err error) {
	labels := map[string]string{LabelCache: printable(key)}
	all := map[string]string{LabelCache: labels[LabelCache], LabelProject: printable(e.cfg.Project)}
	id, err = e.d.CreateVolume(e.stop, driver.VolumeSpec{Name: name, Labels: all})
	if !errdefs.IsAlreadyExists(err) {
		return id, true, err
	}
	volumes, err := e.d.ListVolumes(e.stop, driver.ListOptions{Labels: labels})
	if err != nil {
		return "", false, err
	}
	for _, v := range volumes {
		if v.Name == name {
			return v.ID, e.past.resumed, nil // an earlier process may have made it just now
		}
	}
	return "", false, fmt.Errorf("the volume %s of cache %q exists, but the runtime does not list it", name, key)
}

// printable makes a label's value of a cache's key or project.
func printable(key string) string {
	key = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, key)
	for len(key) > 200 {
		_, n := utf8.DecodeLastRuneInString(key)
		key = key[:len(key)-n]
	}
	return key
}
