// Words prints the words that are most frequent in its input.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	n := flag.Int("n", 10, "how many words to print")
	flag.Parse()
	words, err := Count(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "words:", err)
		os.Exit(1)
	}
	for _, w := range words.Top(*n) {
		fmt.Printf("%6d %s\n", w.Times, w.Text)
	}
}
