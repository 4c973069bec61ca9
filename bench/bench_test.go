package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	if got := median([]time.Duration{9, 1, 5}); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}

func TestVerifyLines(t *testing.T) {
	line := func(i int) string {
		return fmt.Sprintf("2026-01-02T03:04:05.000000006Z %0*d\n", lineBytes-1, firstLine+i-1)
	}
	for name, tc := range map[string]struct {
		text string
		ok   bool
	}{
		"all":         {line(1) + line(2) + line(3), true},
		"one missing": {line(1) + line(3), false},
		"swapped":     {line(1) + line(3) + line(2), false},
		"cut":         {line(1) + line(2) + strings.TrimSuffix(line(3), "\n"), false},
		"one more":    {line(1) + line(2) + line(3) + line(4), false},
		"empty":       {"", false},
	} {
		file := filepath.Join(t.TempDir(), "output.log")
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := verifyLines(file, 3); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
