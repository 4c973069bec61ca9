// Package links holds no code: its test follows the links between the documents.
package links
