package provisioner_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"

	"github.com/wharfci/wharf/provisioner"
)

// TestHost: where no token is wanted, a page whose name was made to lead to this machine is refused, whatever it asks for.
func TestHost(t *testing.T) {
	bubble(t, func(t *testing.T, y *yard) {
		h := y.open(t, func(*provisioner.Config) {}).Handler(provisioner.Gate{Open: true, Rate: -1})
		synctest.Wait()
		for host, want := range map[string]int{
			"localhost": http.StatusOK, "localhost:5009": http.StatusOK, "127.0.0.1:5009": http.StatusOK, "[::1]:5009": http.StatusOK, "127.1.2.3": http.StatusOK,
			"evil.example:5009": http.StatusMisdirectedRequest, "localhost.evil.example": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest, "": http.StatusMisdirectedRequest,
		} {
			r := httptest.NewRequest("GET", "/api/worker", nil)
			r.Host = host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("host %q: %d; want %d", host, w.Code, want)
			}
		}
	})
}
