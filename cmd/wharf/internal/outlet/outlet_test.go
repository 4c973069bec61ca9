package outlet

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestWriterHoldsNothingBack(t *testing.T) {
	r, pipe := io.Pipe()
	w := New(pipe, nil)
	buf := make([]byte, 16)
	for _, line := range []string{"one\n", "two\n"} { // the second is written only once the first has been read
		w.Write([]byte(line))
		if n, err := r.Read(buf); err != nil || string(buf[:n]) != line {
			t.Fatalf("read %q, %v; want %q", buf[:n], err, line)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriterKeepsOrderUnderLoad(t *testing.T) {
	var got, want bytes.Buffer
	w := New(&got, nil)
	for i := range 20000 {
		line := bytes.Repeat([]byte{byte('a' + i%26)}, 100+i%100)
		want.Write(line)
		w.Write(line)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("wrote %d bytes that differ from the %d given", got.Len(), want.Len())
	}
}

type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestWriterGoesOnWithoutItsDestination(t *testing.T) {
	full := errors.New("no space left")
	told := make(chan error, 1)
	w := New(broken{full}, func(err error) { told <- err })
	for range 100 {
		if _, err := w.Write(make([]byte, limit)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-told; err != full {
		t.Errorf("told %v, want %v", err, full)
	}
	if err := w.Close(); err != full {
		t.Errorf("Close = %v, want %v", err, full)
	}
}
