package drivertest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/wharfci/wharf/driver"
)

// file is an entry of a tar stream.
type file struct {
	tar.Header
	content string
}

// regular returns a file with mode 0644.
func regular(name, content string) file {
	return file{tar.Header{Name: name, Mode: 0o644}, content}
}

// tarOf returns a tar stream. An entry without a type is a file, or a directory if its name ends in a slash.
func tarOf(files ...file) io.Reader {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if f.Typeflag == 0 {
			f.Typeflag = tar.TypeReg
			if f.Name[len(f.Name)-1] == '/' {
				f.Typeflag = tar.TypeDir
			}
		}
		if f.Typeflag == tar.TypeReg {
			f.Size = int64(len(f.content))
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			panic(err) // the case's own mistake
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return &out
}

func onTask(id driver.TaskID) driver.Place     { return driver.Place{Task: id} }
func onVolume(id driver.VolumeID) driver.Place { return driver.Place{Volume: id} }

// copyIn unpacks files into a directory, or ends the case.
func (e *Env) copyIn(place driver.Place, dir string, files ...file) {
	err := e.d.CopyIn(e.ctx, driver.CopyInOptions{Place: place, Path: dir, Tar: tarOf(files...)})
	e.must("CopyIn", err)
}

// signal makes an empty file in the task's root, which its program awaits.
func (e *Env) signal(id driver.TaskID, path string) {
	e.copyIn(onTask(id), "/", regular(path[1:], ""))
}

// find returns the task as List has it, or ends the case.
func (e *Env) find(id driver.TaskID) driver.Task {
	tasks, err := e.d.List(e.ctx, driver.ListOptions{})
	e.must("List", err)
	for _, task := range tasks {
		if task.ID == id {
			return task
		}
	}
	e.Fatalf("List does not have the task %s", id)
	return driver.Task{}
}

// volume makes a volume, or ends the case; the end of the case removes it.
func (e *Env) volume() driver.VolumeID {
	id, err := e.d.CreateVolume(e.ctx, driver.VolumeSpec{Name: e.name()})
	e.must("CreateVolume", err)
	e.removeVolumeLater(id)
	return id
}

func (e *Env) removeVolumeLater(id driver.VolumeID) {
	e.defers(func(ctx context.Context) {
		if err := e.d.RemoveVolume(ctx, id); err != nil {
			e.Errorf("RemoveVolume %s: %v", id, err)
		}
	})
}

// aboveMount copies a directory in and out that holds a mount of the task: what belongs into the volume has to get there,
// and not below it, where no process ever sees it.
func aboveMount(e *Env, state driver.State) {
	vol := e.volume()
	spec := e.spec("print", "ready", ";", "await", "/a/v/go", ";", "cat", "/a/beside", "/a/v/sticky/deep/file")
	if state == driver.StateEnded {
		spec = e.spec("print", "ended")
	}
	spec.Container.Mounts = []driver.Mount{{Volume: vol, Path: "/a/v"}}
	id := e.create(spec)
	if state != driver.StateCreated {
		e.must("Start", e.d.Start(e.ctx, id))
	}
	if state == driver.StateEnded {
		e.wantExit(e.wait(id), 0)
	}
	want := append([]file{
		{tar.Header{Name: "a/", Mode: 0o711, ModTime: stamp}, ""},
		{tar.Header{Name: "a/beside", Mode: 0o644, ModTime: stamp}, "beside"},
	}, sample("a/v")...)
	e.copyIn(onTask(id), "/", want...)
	if got := e.copyOut(onVolume(vol), "/sticky/deep/file"); len(got) != 1 || got[0].content != "deep" {
		e.Errorf("what was copied to the mount came back from the volume as %+v", got)
	}
	e.wantCopy(e.copyOut(onTask(id), "/a"), want)
	if state == driver.StateEnded {
		return
	}
	if state == driver.StateCreated {
		e.must("Start", e.d.Start(e.ctx, id))
	}
	e.copyIn(onVolume(vol), "/", regular("go", ""))
	e.wantExit(e.wait(id), 0)
	if lines := e.output(id).stdout(); !slices.Equal(lines, []string{"ready", `"beside"`, `"deep"`}) {
		e.Errorf("the task printed %q", lines)
	}
}
