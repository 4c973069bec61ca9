package fake_test

import (
	"archive/tar"
	"bytes"
	"sync"
	"testing"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/fake"
)

// Two copy into one directory at once, each with an entry for the directory itself. The race detector sees what is not guarded.
func TestCopyInAtOnce(t *testing.T) {
	d := fake.New(fake.Config{}).Open("owner")
	defer d.Close()
	volume, err := d.CreateVolume(t.Context(), driver.VolumeSpec{Name: "v"})
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	w := tar.NewWriter(&stream)
	if err := w.WriteHeader(&tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o777}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range 20 {
				into := driver.CopyInOptions{Place: driver.Place{Volume: volume}, Path: "/", Tar: bytes.NewReader(stream.Bytes())}
				if err := d.CopyIn(t.Context(), into); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
