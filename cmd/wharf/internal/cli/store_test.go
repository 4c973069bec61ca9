package cli

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestFromHere(t *testing.T) {
	h := fromHere(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for host, want := range map[string]int{
		"localhost:5011": 200, "127.0.0.1:5011": 200, "[::1]:5011": 200, "localhost": 200, "evil.example:5011": 421, "evil.example": 421, "127.0.0.1.evil.example": 421,
	} {
		r := httptest.NewRequest("GET", "/api/build", nil)
		r.Host = host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("asked as %s: %d, want %d", host, w.Code, want)
		}
	}
}
