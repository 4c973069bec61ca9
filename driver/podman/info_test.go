package podman

import "testing"

func TestIsolates(t *testing.T) {
	for _, c := range []struct {
		backend, version string
		want             bool
	}{
		{"cni", "", true},
		{"netavark", "", false},
		{"netavark", "netavark 1.4.0", false},
		{"netavark", "netavark 1.5.0", true},
		{"netavark", "netavark 1.14.1", true},
		{"netavark", "netavark 2.0.0", true},
		{"netavark", "unknown", false},
	} {
		var s service
		s.Host.NetworkBackend, s.Host.NetworkBackendInfo.Version = c.backend, c.version
		if got := s.isolates(); got != c.want {
			t.Errorf("%s %q: %t", c.backend, c.version, got)
		}
	}
}
