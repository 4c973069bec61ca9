// Package bare makes images that hold one program of bare machine code: drivers need helpers that are on no registry, for
// the architecture of the runtime, which need not be that of the driver's own process.
package bare

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wharfci/wharf/driver"
)

// Program is a static program for Linux. It is in its image as "/" and its name, and is the entrypoint.
type Program struct {
	Name string
	// Code is in hexadecimal, by GOARCH. It is loaded, readable and executable, 120 bytes behind 0x400000, and begins there.
	Code map[string]string
}

// machines are ELF's numbers of the architectures.
var machines = map[string]uint16{"amd64": 62, "arm64": 183}

// Image is the image's name. It changes with the program.
func (p Program) Image() string {
	sum := sha256.New()
	for _, arch := range slices.Sorted(maps.Keys(p.Code)) {
		sum.Write([]byte(p.Code[arch]))
	}
	return "localhost/wharf/" + p.Name + ":" + hex.EncodeToString(sum.Sum(nil)[:6])
}

// Executable returns the program as a file: the ELF header, one program header that maps the whole file, and the code. An
// architecture that the program was not made for is [driver.ErrUnsupported].
func (p Program) Executable(arch string) ([]byte, error) {
	text, ok := p.Code[arch]
	machine, known := machines[arch]
	if !ok || !known {
		return nil, driver.Unsupported(fmt.Sprintf("a runtime on %s (known are %s)", arch, strings.Join(slices.Sorted(maps.Keys(p.Code)), " and ")))
	}
	code, err := hex.DecodeString(text)
	if err != nil {
		return nil, err
	}
	const base, headers = 0x400000, 64 + 56
	size := uint64(headers + len(code))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), machine, uint32(1), // executable, architecture, version
		uint64(base + headers), uint64(64), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(64), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		uint32(1), uint32(5), // load, readable and executable
		uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
	} {
		_ = binary.Write(&b, binary.LittleEndian, field) // a buffer takes everything
	}
	b.Write(code)
	return b.Bytes(), nil
}

// Archive returns the image as "docker save" writes it.
func (p Program) Archive(arch string) ([]byte, error) {
	program, err := p.Executable(arch)
	if err != nil {
		return nil, err
	}
	layer := archive(file{p.Name, 0o555, program})
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux", "created": "2020-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": []string{"/" + p.Name}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{p.Image()}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return nil, err
	}
	return archive(file{"layer.tar", 0o644, layer}, file{"config.json", 0o644, config}, file{"manifest.json", 0o644, manifest}), nil
}

type file struct {
	name string
	mode int64
	data []byte
}

func archive(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.data))})
		_, _ = w.Write(f.data) // a buffer takes everything
	}
	_ = w.Close()
	return b.Bytes()
}
