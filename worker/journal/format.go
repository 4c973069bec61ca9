package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The names of files in the results directory.
const (
	fileName    = "journal.jsonl"
	reserveName = ".reserve"
	lockName    = ".writer"
	syncedName  = ".synced"
	// PlanFile is where the engine keeps the plan.
	PlanFile = "plan.json"
	// Artifacts is the directory of artifacts, with one directory a step.
	Artifacts = "artifacts"
)

// LogPath returns the path, relative to the results directory, of a step's log.
func LogPath(step string) string { return filepath.Join("steps", step, "output.log") }

// Version is the version of the format that this package writes, and the only one that it reads.
const Version = 1

// ErrNewer is matched by the error of a results directory that a later version of Wharf has written.
var ErrNewer = errors.New("the results were written by a newer version of Wharf")

// ErrDamaged is matched by the error of [Reopen] for a journal that lacks something which had been brought to the disk: no loss of power explains that.
var ErrDamaged = errors.New("the results are damaged")

// Header is the first line of a journal.
type Header struct {
	// Version of the format.
	Version int `json:"journal"`
	// Build is the build's ID.
	Build string `json:"build,omitempty"`
	// Host is the state directory, see package lease, that the build was begun with.
	Host string `json:"host,omitempty"`
	// Created is when the journal was begun.
	Created time.Time `json:"created"`
}

// parseHeader reads the first line of a journal.
func parseHeader(dir string, line []byte) (Header, error) {
	var h Header
	if err := json.Unmarshal(line, &h); err != nil || h.Version < 1 {
		return h, fmt.Errorf("journal %s: it does not begin as a journal does", dir)
	}
	if h.Version > Version {
		return h, fmt.Errorf("journal %s: %w (format %d; this one knows %d): use that version, or another directory", dir, ErrNewer, h.Version, Version)
	}
	return h, nil
}

// record is a line of the journal behind the header.
type record struct {
	Event
	Lines  int    `json:"lines"`
	Offset int64  `json:"offset"`
	Bytes  int64  `json:"bytes"`
	CRC    uint32 `json:"crc"`
	Cursor string `json:"cursor"`
	Runs   []Run  `json:"runs"`
}

// Run is a number of entries in a row from one source.
type Run struct {
	// Lines is how many, at least 1.
	Lines int `json:"lines"`
	// Container and Stream are those of [Event], as is Partial, which holds for each of the entries.
	Container string `json:"container,omitempty"`
	Stream    string `json:"stream"`
	Partial   bool   `json:"partial,omitempty"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxBytes bounds the text of one record, and maxLine a line of the journal: more is damage, not data.
const (
	maxBytes = 8 << 20
	maxLine  = 64 << 20
)

// parseRecord reads a line of the journal that follows entry before.
func parseRecord(line []byte, before uint64) (record, error) {
	var rec record
	if err := json.Unmarshal(line, &rec); err != nil {
		return rec, err
	}
	if rec.Seq != before+1 {
		return rec, fmt.Errorf("entry %d follows", rec.Seq)
	}
	if rec.Kind != KindLog {
		return rec, nil
	}
	lines := 0
	for _, r := range rec.Runs {
		if r.Lines < 1 || r.Lines > maxBytes {
			return rec, fmt.Errorf("entry %d claims a run of %d lines", rec.Seq, r.Lines)
		}
		lines += r.Lines
	}
	switch {
	case rec.Bytes < 0 || rec.Bytes > maxBytes || rec.Offset < 0:
		return rec, fmt.Errorf("entry %d claims %d bytes at %d of the log of %s", rec.Seq, rec.Bytes, rec.Offset, rec.Step)
	case lines != rec.Lines || lines == 0:
		return rec, fmt.Errorf("entry %d claims %d lines, and %d in runs", rec.Seq, rec.Lines, lines)
	case !filepath.IsLocal(LogPath(rec.Step)):
		return rec, fmt.Errorf("%q is no step", rec.Step)
	}
	return rec, nil
}

// entries is how many the record holds.
func (r *record) entries() uint64 {
	if r.Kind == KindLog {
		return uint64(r.Lines)
	}
	return 1
}

// append appends the record of log lines: by hand, for standard output and standard error may alternate line by line.
func (r *record) append(b []byte) []byte {
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, r.Seq, 10)
	b = append(b, `,"kind":"log","step":`...)
	b = appendString(b, r.Step)
	if r.Attempt > 1 {
		b = append(b, `,"attempt":`...)
		b = strconv.AppendInt(b, int64(r.Attempt), 10)
	}
	b = append(b, `,"lines":`...)
	b = strconv.AppendInt(b, int64(r.Lines), 10)
	b = append(b, `,"offset":`...)
	b = strconv.AppendInt(b, r.Offset, 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, `,"crc":`...)
	b = strconv.AppendUint(b, uint64(r.CRC), 10)
	if r.Cursor != "" {
		b = append(b, `,"cursor":`...)
		b = appendString(b, r.Cursor)
	}
	b = append(b, `,"runs":[`...)
	for i, run := range r.Runs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"lines":`...)
		b = strconv.AppendInt(b, int64(run.Lines), 10)
		if run.Container != "" {
			b = append(b, `,"container":`...)
			b = appendString(b, run.Container)
		}
		b = append(b, `,"stream":`...)
		b = appendString(b, run.Stream)
		if run.Partial {
			b = append(b, `,"partial":true`...)
		}
		b = append(b, '}')
	}
	return append(b, "]}\n"...)
}

// appendString appends s as JSON.
func appendString(b []byte, s string) []byte {
	plain := func(r rune) bool { return r >= ' ' && r < 0x7f && r != '"' && r != '\\' }
	if strings.TrimFunc(s, plain) == "" {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	text, _ := json.Marshal(s) // a string always can be
	return append(b, text...)
}
