package docker

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/wharfci/wharf/driver"
)

// secrets writes secrets into a container that was made and not started: so they show in
// no configuration.
func (m *maker) secrets(ctx context.Context, id string, secrets []driver.Secret) error {
	if len(secrets) == 0 {
		return nil
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	seen := map[string]bool{}
	for _, s := range secrets {
		if err := m.parents(ctx, w, id, path.Dir(path.Clean(s.Path)), seen); err != nil {
			return err
		}
		mode := int64(s.Mode)
		if mode == 0 {
			mode = 0o400
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(s.Path), "/"), Mode: mode, Uid: s.UID, Size: int64(len(s.Value)), ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write(s.Value); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, err := m.api.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &buf, AllowOverwriteDirWithFile: true})
	return err
}

// parents writes entries for the directories that the container does not have yet: the daemon
// would make them so that only root can enter, and would change those that are there.
func (m *maker) parents(ctx context.Context, w *tar.Writer, id, dir string, seen map[string]bool) error {
	if dir == "/" || seen[dir] {
		return nil
	}
	seen[dir] = true
	_, err := m.api.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: dir})
	if err == nil || !errdefs.IsNotFound(err) {
		return err
	}
	if err := m.parents(ctx, w, id, path.Dir(dir), seen); err != nil {
		return err
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(dir, "/") + "/", Mode: 0o755, ModTime: time.Now()})
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
