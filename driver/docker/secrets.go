package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// secrets writes secrets into a container that was made and not started: so they show in
// no configuration.
func (d *Driver) secrets(ctx context.Context, id string, secrets []driver.Secret) error {
	files := map[string][]driver.Secret{}
	for _, s := range secrets {
		dir := path.Dir(path.Clean(s.Path))
		files[dir] = append(files[dir], s)
	}
	for _, dir := range slices.Sorted(maps.Keys(files)) {
		if err := d.putFiles(ctx, id, dir, files[dir]); err != nil {
			return err
		}
	}
	return nil
}

// putFiles writes files into a directory. As long as the container does not have it, it begins one further up, and makes those below: the daemon
// would make them so that only root can enter, and would change those that are there. Nothing is asked before: a call that fails costs no more than the question.
func (d *Driver) putFiles(ctx context.Context, id, dir string, files []driver.Secret) error {
	for top := dir; ; top = path.Dir(top) {
		tree, err := tarOf(top, dir, files)
		if err != nil {
			return err
		}
		_, err = d.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: top, Content: tree, AllowOverwriteDirWithFile: true})
		if top == "/" || !errdefs.IsNotFound(err) {
			return err
		}
	}
}

// tarOf is a tar of the directories from below top to dir, and of the files in it.
func tarOf(top, dir string, files []driver.Secret) (io.Reader, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	below := ""
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(dir, top), "/"), "/") {
		if part == "" {
			continue
		}
		below += part + "/"
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: below, Mode: 0o755, ModTime: time.Now()}); err != nil {
			return nil, err
		}
	}
	for _, s := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: below + path.Base(path.Clean(s.Path)), Mode: int64(cmp.Or(s.Mode, 0o400)), Uid: s.UID, Size: int64(len(s.Value)), ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(s.Value); err != nil {
			return nil, err
		}
	}
	return &buf, w.Close()
}

// rootReason says why a container, made and not started, would run as user 0, or nothing if it would not.
func (d *Driver) rootReason(ctx context.Context, id string) (string, error) {
	res, err := d.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return "", err
	}
	const refused = "Security.NonRoot is set, and the container would run as root: give it a user"
	user, _, _ := strings.Cut(res.Container.Config.User, ":")
	if user == "" || user == "root" {
		return refused, nil
	}
	if uid, err := strconv.Atoi(user); err == nil {
		if uid == 0 {
			return refused, nil
		}
		return "", nil
	}
	uid, err := d.userID(ctx, id, user)
	if err == nil && uid == "0" {
		return refused, nil
	}
	return "", err
}

// userID looks a name up in the /etc/passwd of a container; one that is not there has no id, and
// the daemon will refuse to start the container.
func (d *Driver) userID(ctx context.Context, id, name string) (string, error) {
	res, err := d.api.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: "/etc/passwd"})
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer res.Content.Close()
	r := tar.NewReader(res.Content)
	if h, err := r.Next(); err != nil || h.Typeflag != tar.TypeReg {
		return "", driver.WithClass(errdefs.ErrFailedPrecondition, "Security.NonRoot is set, and /etc/passwd of the image, to look up user %q, is no file; give the user by number", name)
	}
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		if f := strings.Split(lines.Text(), ":"); len(f) > 2 && f[0] == name {
			return f[2], nil
		}
	}
	return "", lines.Err()
}
