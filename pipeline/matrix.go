package pipeline

import "fmt"

// matrix returns the combinations of a step's matrix, the last variable changing fastest; one empty combination if the
// step has none. The values may use every variable but those of the matrix itself.
func (p *planner) matrix(st step) [][]MatrixValue {
	combinations := [][]MatrixValue{nil}
	m := st.body.at("matrix")
	if m == nil || st.typ != TypeContainer {
		return combinations
	}
	for _, e := range m.entries {
		var values []Value
		seen := map[string]bool{}
		for _, item := range e.value.items {
			n := p.scope.expand(item, ofEnvironment, false)
			if n.secret {
				p.report.at(p.scope.source, item.pos, fmt.Sprintf("the variable %s has a secret as a value, which would show in the step's name", quote(e.key)))
				continue
			}
			v := n.value()
			if seen[v.Text] {
				p.report.at(p.scope.source, item.pos, fmt.Sprintf("the variable %s has the value %s twice", quote(e.key), quote(v.Text)))
				continue
			}
			seen[v.Text] = true
			values = append(values, v)
		}
		combinations = times(combinations, e.key, values)
	}
	return combinations
}

// times adds a variable with each of its values to each combination.
func times(combinations [][]MatrixValue, name string, values []Value) [][]MatrixValue {
	product := make([][]MatrixValue, 0, len(combinations)*len(values))
	for _, c := range combinations {
		for _, v := range values {
			product = append(product, append(c[:len(c):len(c)], MatrixValue{name, v}))
		}
	}
	return product
}
