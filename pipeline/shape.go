package pipeline

// shapeKind is what a shape demands.
type shapeKind uint8

const (
	aText     shapeKind = iota // text; numbers and booleans count as the text they are written as
	aBool                      // true or false
	anInt                      // a whole number from min to max
	aScalar                    // text, a number or a boolean, which keeps its type
	aList                      // a list with elements of one shape
	aMap                       // a map with free keys and values of one shape
	anObject                   // a map with known keys
	anIntOr                    // a whole number as by anInt, or else what elem says
	aDuration                  // a Go duration above 0
	aCPU                       // cores, such as 0.5 or 500m
	aMemory                    // bytes, such as 512Mi
)

// shape describes the values of one place of the language. The same tables of shapes check definitions and make the
// JSON Schema, so that the two agree.
type shape struct {
	kind shapeKind
	// desc is a sentence for editors, def the default as text, and examples are values for completion.
	desc, def string
	examples  []string
	// hint says what to write instead of a value of the wrong form.
	hint string
	// literal text is never substituted, so that it can be checked before variables are known.
	literal bool
	// Text: may it be empty, and must it be one of these?
	empty bool
	enum  []string
	// check looks at text after substitution; pattern is a regular expression for the schema that refuses nothing which
	// check accepts.
	check   func(string) error
	pattern string
	// Lists and maps: the shape of each element and the least number of them. Maps: the check of keys.
	elem     *shape
	atLeast  int
	checkKey func(string) error
	keyRegex string
	// Whole numbers: the range.
	min, max int
	// Objects: the known keys in the order of the documentation, and rules between them.
	fields []field
	rules  []rule
}

// field is a known key of an object.
type field struct {
	name     string
	required bool
	shape    *shape
}

// rule is a demand on which keys of an object are given.
type rule struct {
	keys []string
	// exactlyOne refuses more than one of keys; without it at least one is enough.
	exactlyOne bool
}

// field returns the known key of a name, or nil.
func (s *shape) field(name string) *field {
	for i := range s.fields {
		if s.fields[i].name == name {
			return &s.fields[i]
		}
	}
	return nil
}

// names returns the known keys.
func (s *shape) names() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return names
}

// expects names what the shape demands, for a message.
func (s *shape) expects() string {
	switch s.kind {
	case aBool:
		return "true or false"
	case anInt:
		return "a whole number"
	case aScalar:
		return "text, a number or a boolean"
	case aList:
		return "a list"
	case aMap, anObject:
		return "a map"
	case anIntOr:
		return "a whole number or " + s.elem.expects()
	case aDuration:
		return `a duration such as "90s" or "1h30m"`
	case aCPU:
		return `a number of cores such as 0.5 or "500m"`
	case aMemory:
		return `an amount of memory such as "512Mi"`
	}
	return "text"
}

// element returns the shape of a list's elements, or nil.
func (s *shape) element() *shape {
	if s == nil {
		return nil
	}
	return s.elem
}

// value returns the shape of the value under a key of a map, or nil.
func (s *shape) value(key string) *shape {
	switch {
	case s == nil:
		return nil
	case s.kind == anIntOr:
		return s.elem.value(key)
	case s.kind != anObject:
		return s.elem
	}
	if f := s.field(key); f != nil {
		return f.shape
	}
	return nil
}
