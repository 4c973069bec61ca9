// Package imports holds no code: its tests say which package may depend on which. See CONTRIBUTING.md.
package imports
