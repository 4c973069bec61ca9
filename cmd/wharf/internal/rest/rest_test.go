package rest

import (
	"os"
	"strings"
	"sync"
	"testing"
)

// What a program does goes on while its pages are dropped.
func TestNow(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				text, err := os.ReadFile("rest.go")
				if err != nil || !strings.Contains(strings.ToUpper(string(text)), "PACKAGE REST") {
					t.Error(err)
				}
			}
		})
	}
	for range 20 {
		Now()
	}
	wg.Wait()
}
