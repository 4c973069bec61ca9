package clone

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestCredential(t *testing.T) {
	token := write(t, "s3cret\n")
	known, err := json.Marshal(answer{Origin: "https://host.example:8443", User: "me", TokenFile: token})
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, string(known))
	for _, c := range []struct{ operation, in, want string }{
		{"get", "protocol=https\nhost=host.example:8443\n\n", "username=me\npassword=s3cret\n"},
		{"get", "capability[]=authtype\nprotocol=https\nhost=HOST.example:8443\npath=a.git\nwwwauth[]=Basic realm=\"x\"\n", "username=me\npassword=s3cret\n"},
		{"get", "protocol=http\nhost=host.example:8443\n\n", ""},
		{"get", "protocol=https\nhost=host.example\n\n", ""},
		{"get", "protocol=https\nhost=host.example:8443.evil.example\n\n", ""},
		{"get", "protocol=https\nhost=evil.example\n\nhost=host.example:8443\n", ""},
		{"get", "", ""},
		{"store", "protocol=https\nhost=host.example:8443\n\n", ""},
		{"erase", "protocol=https\nhost=host.example:8443\n\n", ""},
		{"later", "", ""},
	} {
		var out strings.Builder
		if err := Credential([]string{file, c.operation}, strings.NewReader(c.in), &out); err != nil || out.String() != c.want {
			t.Errorf("%s %q: %q, %v; want %q", c.operation, c.in, out.String(), err, c.want)
		}
	}
	for _, args := range [][]string{nil, {file}, {"/nonexistent", "get"}, {token, "get"}} {
		if err := Credential(args, strings.NewReader(""), &strings.Builder{}); err == nil {
			t.Errorf("%q succeeds", args)
		}
	}
}
