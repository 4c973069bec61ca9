package podman

import (
	"archive/tar"
	"bufio"
	"bytes"
	"cmp"
	"context"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/wharfci/wharf/driver"
)

// secrets writes secrets into a container that was made and not started: so they show in
// no configuration. Directories that are not there the service makes so that everybody can enter them, and does not change the others.
func (m *maker) secrets(ctx context.Context, id string, secrets []driver.Secret) error {
	if len(secrets) == 0 {
		return nil
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, s := range secrets {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(s.Path), "/"), Mode: int64(cmp.Or(s.Mode, 0o400)), Uid: s.UID, Size: int64(len(s.Value)), ModTime: time.Now()}
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
	return m.unpack(ctx, id, "/", &buf)
}

// rootReason says why a container, made and not started, would run as user 0, or nothing if it would not.
func (d *Driver) rootReason(ctx context.Context, id string) (string, error) {
	res, err := d.look(ctx, id)
	if err != nil {
		return "", err
	}
	const refused = "Security.NonRoot is set, and the container would run as root: give it a user"
	user, _, _ := strings.Cut(res.Config.User, ":")
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
// the service will refuse to start the container.
func (d *Driver) userID(ctx context.Context, id, name string) (string, error) {
	body, err := d.pack(ctx, id, "/etc/passwd")
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer body.Close()
	r := tar.NewReader(body)
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
