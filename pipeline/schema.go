package pipeline

import (
	"bytes"
	_ "embed"
	"slices"
)

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12) of the language, for editors. It is stricter than Parse in one thing, a
// key without a value, and laxer in what a schema cannot say: names that must exist, cycles, duplicate keys, and the
// details of paths, patterns and amounts.
func Schema() []byte { return bytes.Clone(schemaJSON) }

type object = map[string]any

const (
	templatePattern = `\$\{`
	durationPattern = `^[+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`
	cpuPattern      = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)m?$`
	memoryPattern   = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)([kKMGT]|[KMGT]i)?$`
)

// makeSchema makes the schema of the tables. The file schema.json is its result.
func makeSchema() object {
	step := stepShape.schema()
	step["description"] = "A step: one key, which is its type."
	step["minProperties"], step["maxProperties"] = 1, 1
	defs := object{"stage": stageSchema(), "step": step, "input": inputSchema()}
	properties := step["properties"].(object)
	for _, t := range stepTypes {
		defs[t.name] = properties[t.name]
		properties[t.name] = defined(t.name)
	}
	inputs := inputsShape.schema()
	inputs["items"] = defined("input")
	scalars := []string{keyInputs, keyEnvironments, keyTimeout, keyConcurrency}
	return object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://github.com/wharfci/wharf/pipeline/schema.json",
		"title":       ".wharf-ci.yml",
		"description": "A build definition: every key but inputs, environments, timeout and concurrency is a stage.",
		"type":        "object",
		"$defs":       defs,
		"properties": object{
			keyInputs:       inputs,
			keyEnvironments: environmentsShape.schema(),
			keyTimeout:      object{"anyOf": []any{timeoutShape.schema(), defined("stage")}},
			keyConcurrency:  object{"anyOf": []any{concurrencyShape.schema(), defined("stage")}},
		},
		"additionalProperties": defined("stage"),
		"anyOf": []any{
			object{"not": object{"propertyNames": object{"enum": scalars}}},
			isStage(keyTimeout),
			isStage(keyConcurrency),
		},
	}
}

func stageSchema() object {
	return object{
		"type": "object", "description": "A stage: its steps run in parallel.",
		"properties": object{
			keyEnvironments: filterShape.schema(),
			keyRunIf:        runIfShape.schema(),
		},
		"additionalProperties": defined("step"),
		"not":                  object{"propertyNames": object{"enum": []string{keyEnvironments, keyRunIf}}},
	}
}

func defined(name string) object { return object{"$ref": "#/$defs/" + name} }

func isStage(key string) object {
	return object{"required": []string{key}, "properties": object{key: object{"type": "object"}}}
}

func inputSchema() object {
	s := inputShape.schema()
	s["description"] = "A value that is asked for when a build is started."
	s["if"] = object{"required": []string{"type"}, "properties": object{"type": object{"const": InputChoice}}}
	s["then"] = object{"required": []string{"values", "default"}}
	return s
}

// schema returns the JSON Schema of a shape.
func (s *shape) schema() object {
	o := s.bare()
	if !s.literal && !s.container() {
		o = s.orTemplate(o)
	}
	if s.desc != "" {
		o["description"] = s.desc
	}
	if s.def != "" {
		o["default"] = s.def
		if s.kind == aBool {
			o["default"] = s.def == "true"
		}
	}
	if len(s.examples) > 0 {
		o["examples"] = s.examples
	}
	return o
}

func (s *shape) container() bool {
	return s.kind == aList || s.kind == aMap || s.kind == anObject
}

// orTemplate lets any text with a reference through, where o looks at the text at all.
func (s *shape) orTemplate(o object) object {
	if p, ok := o["pattern"].(string); ok {
		o["pattern"] = "(" + p + ")|" + templatePattern
		return o
	}
	if s.kind == aScalar || s.kind == aText && len(s.enum) == 0 {
		return o
	}
	return object{"anyOf": []any{o, object{"type": "string", "pattern": templatePattern}}}
}

func (s *shape) bare() object {
	switch s.kind {
	case aBool:
		return object{"enum": []any{true, false, "yes", "no", "on", "off"}}
	case anInt:
		return object{"type": "integer", "minimum": s.min, "maximum": s.max}
	case anIntOr:
		return object{"anyOf": []any{object{"type": "integer", "minimum": s.min, "maximum": s.max}, s.elem.schema()}}
	case aDuration:
		return object{"type": "string", "pattern": durationPattern}
	case aCPU:
		return object{"type": []string{"number", "string"}, "exclusiveMinimum": 0, "pattern": cpuPattern}
	case aMemory:
		return object{"type": []string{"number", "string"}, "exclusiveMinimum": 0, "pattern": memoryPattern}
	case aList:
		return withMin(object{"type": "array", "items": s.elem.schema()}, "minItems", s.atLeast)
	case aMap:
		o := withMin(object{"type": "object", "additionalProperties": s.elem.schema()}, "minProperties", s.atLeast)
		if s.keyRegex != "" {
			o["propertyNames"] = object{"pattern": s.keyRegex}
		}
		return o
	case anObject:
		return s.objectSchema()
	}
	if len(s.enum) > 0 {
		return object{"enum": s.enum}
	}
	o := object{"type": []string{"string", "number", "boolean"}}
	if !s.empty {
		o["minLength"] = 1
	}
	if s.pattern != "" {
		o["pattern"] = s.pattern
	}
	return o
}

func withMin(o object, key string, n int) object {
	if n > 0 {
		o[key] = n
	}
	return o
}

func (s *shape) objectSchema() object {
	properties, required := object{}, []string{}
	for _, f := range s.fields {
		properties[f.name] = f.shape.schema()
		if f.required {
			required = append(required, f.name)
		}
	}
	o := object{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		slices.Sort(required)
		o["required"] = required
	}
	for _, r := range s.rules {
		var each []any
		for _, k := range r.keys {
			given := object{"required": []string{k}}
			if f := s.field(k).shape; f.kind == aList && f.atLeast == 0 {
				given["properties"] = object{k: object{"minItems": 1}} // an empty list gives nothing
			}
			each = append(each, given)
		}
		o[map[bool]string{true: "oneOf", false: "anyOf"}[r.exactlyOne]] = each
	}
	return o
}
