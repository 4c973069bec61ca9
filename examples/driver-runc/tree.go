package runc

import (
	"os"
	"path"
	"strings"
)

// tree is a directory with others mounted in it, as the processes of a container see it. No link leads out of any of them.
type tree struct {
	root   *os.Root
	mounts []mounted // outer ones before those inside of them
}

type mounted struct {
	at   string // below the root of the tree
	root *os.Root
}

func openTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	return &tree{root: root}, err
}

// mount adds a directory. Its mount point is made, which runc would do at the start.
func (t *tree) mount(at, dir string) error {
	if outer, name := t.find(at); outer != nil {
		if err := outer.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	root, err := os.OpenRoot(dir)
	if err == nil {
		t.mounts = append(t.mounts, mounted{at, root})
	}
	return err
}

// find returns the directory that holds a file, and the file's name in it.
func (t *tree) find(name string) (*os.Root, string) {
	name = path.Clean(name)
	root, rest := t.root, name
	for _, m := range t.mounts {
		if name == m.at {
			root, rest = m.root, "."
		} else if after, ok := strings.CutPrefix(name, m.at+"/"); ok {
			root, rest = m.root, after
		}
	}
	return root, rest
}

// below returns the part of a tree that is in a directory. It shares the mounts with the whole, which is closed after it.
func (t *tree) below(dir string) (*tree, error) {
	root, err := t.root.OpenRoot(dir)
	part := &tree{root: root}
	prefix := strings.TrimPrefix(path.Clean(dir)+"/", "./")
	for _, m := range t.mounts {
		if at, ok := strings.CutPrefix(m.at, prefix); ok {
			part.mounts = append(part.mounts, mounted{at, m.root})
		}
	}
	return part, err
}

func (t *tree) Close() {
	t.root.Close()
	for _, m := range t.mounts {
		m.root.Close()
	}
}
