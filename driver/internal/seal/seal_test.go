package seal

import (
	"strings"
	"testing"
)

func TestSeal(t *testing.T) {
	key := []byte("0123456789abcdef")
	sealed, err := Seal(key, "use", "place", []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := Seal(key, "use", "place", []byte("a secret"))
	if err != nil || sealed == again || strings.Contains(sealed, "secret") {
		t.Errorf("sealed twice it is %q and %q, %v", sealed, again, err)
	}
	if text, err := Open(key, "use", "place", sealed); err != nil || string(text) != "a secret" {
		t.Errorf("opened it is %q, %v", text, err)
	}
	for _, wrong := range [][4]string{
		{"0123456789abcdeF", "use", "place", sealed},
		{"short", "use", "place", sealed},
		{string(key), "other use", "place", sealed},
		{string(key), "use", "other place", sealed},
		{string(key), "use", "place", sealed[1:]},
		{string(key), "use", "place", "?"},
		{string(key), "use", "place", ""},
	} {
		if text, err := Open([]byte(wrong[0]), wrong[1], wrong[2], wrong[3]); err == nil {
			t.Errorf("with %q, for %q in %q, %q is opened: %q", wrong[0], wrong[1], wrong[2], wrong[3], text)
		}
	}
	if _, err := Seal(key[1:], "use", "place", nil); err == nil {
		t.Error("a short key is taken")
	}
}
