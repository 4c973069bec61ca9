package text

import "github.com/rivo/uniseg"

// Width returns how many cells of a terminal s takes. It must not hold escape sequences.
func Width(s string) int {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return uniseg.StringWidth(s)
		}
	}
	return len(s)
}

// Truncate returns s if it fits into width cells, and else its beginning and the mark, which together do. A wide
// character or an emoji is never cut in half.
func Truncate(s string, width int, mark string) string {
	if width <= 0 {
		return ""
	}
	if Width(s) <= width {
		return s
	}
	room := width - Width(mark)
	if room < 0 {
		room, mark = width, ""
	}
	used, end, state := 0, 0, -1
	for rest := s; rest != ""; {
		var cluster string
		var w int
		cluster, rest, w, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if used+w > room {
			break
		}
		used, end = used+w, end+len(cluster)
	}
	return s[:end] + mark
}
