package driver

import "io"

// Place says on what CopyIn and CopyOut work: a task's main container, or a volume
// without any task. Exactly one field is set.
type Place struct {
	Task   TaskID
	Volume VolumeID
}

// CopyInOptions says what to write, and where.
type CopyInOptions struct {
	// Place is the task or volume.
	Place Place
	// Path is the directory to unpack into; it must exist. On a task it is an absolute path in the
	// main container, volumes included; on a volume it is absolute with the volume's
	// root as "/".
	Path string
	// Tar is the stream (USTAR, PAX or GNU; not compressed). CopyIn reads it to its end and
	// does not close it.
	Tar io.Reader
	// OutsideLinks admits symbolic links whose target is absolute or leads out of Path: a
	// repository may hold such links, and they mean something inside the container.
	// Nothing is ever written through a link of the stream.
	OutsideLinks bool
}

// CopyOutOptions says what to read.
type CopyOutOptions struct {
	// Place is the task or volume.
	Place Place
	// Path is the file or directory, absolute as in [CopyInOptions].
	Path string
}
