//go:build linux

package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/wharfci/wharf/driver/internal/rootfs"
	"github.com/wharfci/wharf/driver/kubernetes/internal/wire"
)

// answerCopy copies files in or out of what is the root of this process.
func answerCopy(w *wire.Conn, r *wire.Request) {
	var err error
	switch r.Op {
	case wire.OpCopyIn:
		err = copyIn(w, path.Clean(r.Path))
	case wire.OpCopyOut:
		err = copyOut(w, path.Clean(r.Path))
	case wire.OpClear:
		err = os.RemoveAll(path.Clean("/" + r.Path))
	default:
		reply(w, fail(wire.Other, "the helper does not know the operation %q here", r.Op))
		return
	}
	if err != nil {
		reply(w, fail(classOf(err), "%v", err))
		return
	}
	reply(w, wire.Answer{})
}

func classOf(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return wire.NotFound
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return wire.Exhausted
	case errors.Is(err, rootfs.ErrDirectoryInTheWay), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EROFS), errors.Is(err, fs.ErrPermission):
		return wire.Precondition
	}
	return wire.Other
}

func copyIn(w *wire.Conn, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "copy into", Path: dir, Err: unix.ENOTDIR}
	}
	if err := w.Write(wire.FrameReady, nil); err != nil {
		return err
	}
	pr, pw := io.Pipe()
	go func() {
		for {
			kind, payload, err := w.Read()
			switch {
			case err != nil:
				pw.CloseWithError(io.ErrUnexpectedEOF)
				return
			case kind == wire.FrameEnd:
				pw.Close()
				return
			case kind == wire.FrameData:
				if _, err := pw.Write(payload); err != nil {
					return
				}
			}
		}
	}()
	err = rootfs.Unpack(dir, pr)
	pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	return err
}

func copyOut(w *wire.Conn, file string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	if err := w.Write(wire.FrameReady, nil); err != nil {
		return err
	}
	return rootfs.Pack(w.Writer(wire.FrameData), file, info)
}
