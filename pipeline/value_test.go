package pipeline

import (
	"encoding/json"
	"testing"
	"time"
)

func TestValue_JSON(t *testing.T) {
	for _, tt := range []struct {
		v    Value
		want string
		back Value
	}{
		{Value{}, `""`, Value{}},
		{StringValue("1"), `"1"`, StringValue("1")},
		{Value{Bool, "true"}, `true`, Value{Bool, "true"}},
		{Value{Bool, "false"}, `false`, Value{Bool, "false"}},
		{Value{Number, "1.10"}, `1.10`, Value{Number, "1.10"}},
		{Value{Number, "-3e5"}, `-3e5`, Value{Number, "-3e5"}},
		{Value{Number, "0x1f"}, `31`, Value{Number, "31"}},
		{Value{Number, "0o17"}, `15`, Value{Number, "15"}},
		{Value{Number, "1_000"}, `1000`, Value{Number, "1000"}},
		{Value{Number, ".5"}, `0.5`, Value{Number, "0.5"}},
		{Value{Number, "+7"}, `7`, Value{Number, "7"}},
		{Value{Number, "017"}, `17`, Value{Number, "17"}},
		{Value{Number, "-08"}, `-8`, Value{Number, "-8"}},
		{Value{Number, "1_000.5"}, `1000.5`, Value{Number, "1000.5"}},
		{Value{Number, "+-5"}, `"+-5"`, StringValue("+-5")},
		{Value{Number, "NaN"}, `"NaN"`, StringValue("NaN")},
	} {
		data, err := json.Marshal(tt.v)
		if err != nil || string(data) != tt.want {
			t.Errorf("%+v gives %s, %v; want %s", tt.v, data, err, tt.want)
		}
		var back Value
		if err := json.Unmarshal(data, &back); err != nil || back != tt.back {
			t.Errorf("%s gives %+v, %v; want %+v", data, back, err, tt.back)
		}
	}
	for _, in := range []string{"null", "[]", "{}"} {
		if err := json.Unmarshal([]byte(in), new(Value)); err == nil {
			t.Errorf("%s gives no error", in)
		}
	}
}

func TestDuration_JSON(t *testing.T) {
	data, err := json.Marshal(struct{ D Duration }{Duration(90 * time.Second)})
	if err != nil || string(data) != `{"D":"1m30s"}` {
		t.Errorf("got %s, %v", data, err)
	}
	var d Duration
	if err := d.UnmarshalText([]byte("x")); err == nil {
		t.Error("no error")
	}
}

func TestQuantities(t *testing.T) {
	for in, want := range map[string]int64{"1": 1000, "0.5": 500, "500m": 500, ".1": 100, "0.0001": 1, "1.": 1000} {
		if got, err := parseCPU(in); err != nil || got != want {
			t.Errorf("cpu %s is %d, %v; want %d", in, got, err, want)
		}
	}
	for in, want := range map[string]int64{"1": 1, "1k": 1000, "1K": 1000, "1Ki": 1024, "1.5Gi": 3 << 29, "2T": 2e12, "1Ti": 1 << 40} {
		if got, err := parseMemory(in); err != nil || got != want {
			t.Errorf("memory %s is %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-1", "1e3", "x", "1 Gi", "1gi", "9999999999999Ti", "NaN", "0x10", "1..2", "m"} {
		if got, err := parseMemory(in); err == nil {
			t.Errorf("memory %q is %d", in, got)
		}
		if got, err := parseCPU(in); err == nil {
			t.Errorf("cpu %q is %d", in, got)
		}
	}
}
